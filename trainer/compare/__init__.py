"""Methods side by side: recipes trained from one start on the same problems, and measured. See `run.py`."""

from trainer.compare.run import run_comparison

__all__ = ["run_comparison"]
