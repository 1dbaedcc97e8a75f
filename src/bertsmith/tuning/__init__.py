"""One fine-tuning run: from examples to a scored model folder."""
