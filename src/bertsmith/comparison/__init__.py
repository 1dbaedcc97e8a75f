"""`compare`: BERT, GPT and ELMo, and BERT without parts of itself, under one budget."""
