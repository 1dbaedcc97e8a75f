"""Tokenizers: WordPiece and byte pairs, their training and their files."""
