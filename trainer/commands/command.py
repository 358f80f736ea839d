"""What the commands share: how they fail, and the exit statuses they return."""

import sys

from evals.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, termination_interrupts

__all__ = ["FAILED", "INTERRUPTED", "WRONG_USAGE", "fail", "termination_interrupts"]


def fail(message: str, status: int) -> int:
    """Print an error as every command does; returns `status`."""
    print(f"thinkdial train: {message}", file=sys.stderr)
    return status
