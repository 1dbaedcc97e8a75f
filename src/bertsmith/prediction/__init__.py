"""A model folder put to work: blanks, answers, vectors, scores, submissions."""
