"""A model folder put to work: masks, answers, vectors, scores."""
