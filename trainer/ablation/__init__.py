"""What each stage was worth: every checkpoint of a run, measured on the same problems. Starts at `run.py`."""

from trainer.ablation.run import run_ablation

__all__ = ["run_ablation"]
