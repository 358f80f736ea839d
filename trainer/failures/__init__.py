"""What goes wrong in RL from rewards, shown on a small model. Starts at `run.py`."""

from trainer.failures.run import run_failure

__all__ = ["run_failure"]
