"""Problem sets, by name or by path."""

from pathlib import Path

from evals.problems import thinkmath
from evals.problems.jsonl import read_jsonl
from evals.problems.problem import Problem

__all__ = ["Problem", "load"]


def load(spec: str, *, limit: int | None = None, seed: int = 0) -> list[Problem]:
    """Load a problem set.

    Args:
        spec: `thinkmath` (held-out problems, levels 1-5 in turn) or the path of a JSONL file.
        limit: the first `limit` problems; None is the whole file, or 500 thinkmath problems.
        seed: which thinkmath problems are drawn; files are read in their order.

    Raises:
        ValueError: unknown name, malformed file, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1")
    if spec == "thinkmath":
        return thinkmath.held_out(500 if limit is None else limit, seed=seed)
    path = Path(spec)
    if not path.is_file():
        raise ValueError(f"problems is {spec!r}; expected 'thinkmath' or the path of a JSONL file")
    return read_jsonl(path)[:limit]
