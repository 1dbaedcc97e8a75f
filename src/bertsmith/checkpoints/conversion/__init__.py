"""Checkpoints of other programs, read for conversion, and layouts of theirs, written."""
