"""Studies: many runs into one folder, and their tables."""
