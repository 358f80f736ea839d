"""Whether a way of training helps: arms of a recipe, with several seeds, compared. Starts at `run.py`."""

from trainer.study.run import run_study

__all__ = ["run_study"]
