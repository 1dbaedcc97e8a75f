"""The typed functions of the package, one file a step of the work."""
