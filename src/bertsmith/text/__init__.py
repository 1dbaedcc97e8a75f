"""Text: files to documents, documents to sentences, words to WordPieces, pieces to inputs."""
