"""Learning from preferences: pairs of replies, sampled and judged or given, and losses that compare them."""

from trainer.preference.stage import run_stage

__all__ = ["run_stage"]
