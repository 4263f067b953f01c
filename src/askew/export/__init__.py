"""Trained models for other libraries: a directory per format, compared with askew on real samples before it is kept."""
