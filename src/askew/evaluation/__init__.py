"""Evaluation: two encoders and a data set in, named numbers and the outcome of every item out."""
