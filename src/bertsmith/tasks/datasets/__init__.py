"""Readers of labelled files: the published data sets and the user's own."""
