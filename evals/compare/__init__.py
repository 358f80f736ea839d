"""Runs against each other, paired by problem. Starts at `compare.py`."""
