"""What a path is: text, a tokenizer, a corpus, a model or a run."""
