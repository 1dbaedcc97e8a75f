"""Pre-training: what a run begins with."""
