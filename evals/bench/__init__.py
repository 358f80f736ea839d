"""Measurements run from the command line: `python -m evals.bench.NAME`."""
