"""Measurements of training, run from the command line: `python -m trainer.bench.NAME`."""
