"""Model folders, and where a model's name may come from."""
