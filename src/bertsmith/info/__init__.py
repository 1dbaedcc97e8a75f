"""What a path holds: text, a tokenizer, a corpus, a model or a run."""
