"""`compare`: BERT, GPT, ELMo and ablations of BERT under one budget."""
