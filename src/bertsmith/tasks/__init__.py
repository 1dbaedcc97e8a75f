"""Labelled tasks: what an example is, how files are read, and how answers are scored."""
