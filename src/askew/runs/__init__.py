"""Whole runs: what each command of the command line does, from a directory on disk to a printed table."""
