"""`quickstart`: real text to a small BERT, fine-tuned, in minutes and without a network."""
