"""Models on packed input, and the folders they live in."""
