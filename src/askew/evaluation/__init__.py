"""Evaluation sees two encoders and a data set, and yields named numbers."""
