"""Pre-training: settings, initial weights, examples, masks and the run itself."""
