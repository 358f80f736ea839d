"""Averaging the weights of checkpoints."""

from trainer.average.stage import run_stage

__all__ = ["run_stage"]
