"""Errors, files, locks, workers, the terminal. Knows neither text nor models."""
