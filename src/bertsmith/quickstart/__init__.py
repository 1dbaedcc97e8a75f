"""`quickstart`: from real text to a small fine-tuned BERT in minutes, offline."""
