"""Measure accuracy against thinking budget: problems, sampling, grading, statistics and reports."""
