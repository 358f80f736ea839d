"""`python -m trainer.benchmarks`: the benchmarks of all rooms one after another, in one JSON and one page."""
