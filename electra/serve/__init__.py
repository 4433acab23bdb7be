"""MODELS -> HTTP: what a loaded predictor answers, to many at once."""
