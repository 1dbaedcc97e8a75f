"""The one training loop and what it needs. Knows neither text nor a model family."""
