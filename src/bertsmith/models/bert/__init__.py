"""BERT: its encoder, its heads, its parameter names in `transformers`."""
