"""Bridges to other harnesses: lm-eval tasks swept over budgets, and their old results imported as runs."""
