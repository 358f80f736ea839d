"""What a run will do and need, without training: checks.py looks, memory.py estimates, text.py prints."""

from trainer.dry_run.checks import Findings, check
from trainer.dry_run.text import show

__all__ = ["Findings", "check", "show"]
