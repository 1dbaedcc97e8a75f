"""Models behind HTTP: the service, its batches, the playground. Imports inference, no training."""
