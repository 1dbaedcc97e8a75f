"""Fine-tuning: labelled examples and a model to a scored model folder."""
