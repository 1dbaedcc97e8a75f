"""GPT: its decoder, its heads, its parameter names in `transformers`."""
