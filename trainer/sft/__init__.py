"""Supervised fine-tuning: the cold start and the fusion stage."""

from trainer.sft.stage import run_stage

__all__ = ["run_stage"]
