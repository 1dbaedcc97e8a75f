"""ELMo: its character network and LSTMs, its heads."""
