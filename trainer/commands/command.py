"""What the commands share: how they fail, and the exit statuses they return."""

import sys

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


def fail(message: str, status: int) -> int:
    """Print an error as every command does; returns `status`."""
    print(f"thinkdial train: {message}", file=sys.stderr)
    return status
