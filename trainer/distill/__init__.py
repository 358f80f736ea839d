"""Distillation: a teacher's replies, then its distributions on the student's own replies, in both modes."""

from trainer.distill.stage import run_stage

__all__ = ["run_stage"]
