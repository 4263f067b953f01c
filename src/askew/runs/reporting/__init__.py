"""What a report shows of runs: reading them, their curves, their results, and the words around these."""
