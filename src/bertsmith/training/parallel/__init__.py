"""Processes, device, precision and compilation, applied to a model from outside."""
