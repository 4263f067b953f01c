"""Using a trained model from Python. `import askew` offers these names at its top; docs/python.md shows how."""
