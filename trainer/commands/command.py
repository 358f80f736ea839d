"""What the commands share: how they fail, how they end in a report, and the exit statuses they return."""

import sys
from collections.abc import Callable
from pathlib import Path

from evals.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, termination_interrupts

__all__ = ["FAILED", "INTERRUPTED", "WRONG_USAGE", "end_in_report", "fail", "termination_interrupts"]


def fail(message: str, status: int) -> int:
    """Print an error as every command does; returns `status`."""
    print(f"thinkdial train: {message}", file=sys.stderr)
    return status


def end_in_report(work: Callable[[], Path]) -> int:
    """Do long, resumable work and print the report it leaves, a text file; returns the exit status."""
    import httpx
    from accelerate import PartialState

    from clients import APIError

    try:
        with termination_interrupts():
            report = work()
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except (RuntimeError, APIError, httpx.HTTPError) as error:
        return fail(f"{error}\nwhat is done is kept; the same command goes on", FAILED)
    except KeyboardInterrupt:
        return fail("stopped; the same command goes on where it was", INTERRUPTED)
    PartialState().print(report.read_text("utf-8"))
    return 0
