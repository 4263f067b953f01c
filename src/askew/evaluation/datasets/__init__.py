"""Evaluation data sets: what a data set is, the catalogue of those that askew knows, and one reader per layout."""
