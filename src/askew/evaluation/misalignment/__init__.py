"""How far the pairs of a data set are from belonging together, and what image operations do to them."""
