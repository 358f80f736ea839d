"""Problem sets, by name or by path."""

import os
from collections.abc import Sequence
from pathlib import Path

from evals.problems import thinkmath
from evals.problems.catalogue import SETS, canonical_name
from evals.problems.hub import load_hub
from evals.problems.jsonl import read_jsonl
from evals.problems.problem import Problem
from evals.problems.selector import Selector, parse_selectors

__all__ = ["DATA_VARIABLE", "Problem", "Selector", "data_folder", "find_local", "load", "parse_selectors"]

DATA_VARIABLE = "THINKDIAL_DATA"
"""The environment variable that names a folder of problem sets."""
_SHOWN = 20


def load(specs: str | Sequence[str], *, limit: int | None = None, seed: int = 0) -> list[Problem]:
    """Load problems of one or more sets, each problem once.

    Args:
        specs: `NAME` or `NAME[level=1-3,subject=Algebra|Geometry]`, several in a sequence or separated by
            commas. A name is `thinkmath` (held-out problems, levels 1-5 in turn), a set of `catalogue.SETS`,
            a set in the folder `$THINKDIAL_DATA` (NAME.jsonl, or a folder NAME with the files of its hub
            repository), or the path of a JSONL file.
        limit: the first `limit` problems of each spec; None is all of them, or 500 thinkmath problems.
        seed: which thinkmath problems are drawn; other sets are read in their order.

    Raises:
        ValueError: unknown name, set that is not at hand, malformed file, filter that selects nothing, two
            different problems with one id, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1")
    problems: dict[str, Problem] = {}
    for selector in parse_selectors(specs):
        for problem in _select(selector, limit, seed):
            if problems.setdefault(problem.id, problem) != problem:
                raise ValueError(
                    f"problems: two different problems have the id {problem.id!r}; rename one of the files"
                )
    return list(problems.values())


def data_folder() -> Path | None:
    """The folder that `$THINKDIAL_DATA` names, if it is set; ValueError if there is no such folder."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise ValueError(f"{DATA_VARIABLE}: {folder!r} is not a folder; name one, or unset it")
    return Path(folder)


def find_local(name: str) -> Path | None:
    """The file or folder in `$THINKDIAL_DATA` that holds the set `name`, if there is one."""
    folder = data_folder()
    if folder is None:
        return None
    known = SETS.get(name)
    for stem in (name, *(known.files if known else ())):
        for path in (folder / f"{stem}.jsonl", folder / stem):
            if path.is_file() or (path.is_dir() and known is not None):
                return path
    return None


def _select(selector: Selector, limit: int | None, seed: int) -> list[Problem]:
    if selector.name == "thinkmath":
        return thinkmath.held_out(limit, seed=seed, selector=selector)
    problems = _read(selector.name)
    selected = [problem for problem in problems if selector.matches(problem)]
    if not selected:
        values = {
            key: _some({str(getattr(problem, key)) for problem in problems}) for key in selector.filters
        }
        raise ValueError(f"problems: {selector} selects nothing; the set has {values}")
    return selected[:limit]


def _some(values: set[str]) -> list[str]:
    """Values for a message: a set has thousands of ids."""
    shown = sorted(values)[:_SHOWN]
    return [*shown, f"and {len(values) - _SHOWN} more"] if len(values) > _SHOWN else shown


def _read(name: str) -> list[Problem]:
    path = Path(name)
    if path.suffix == ".jsonl":
        if not path.is_file():
            raise ValueError(f"problems: there is no file {name!r}; give the path of a JSONL file")
        return read_jsonl(path, canonical_name(path.stem))
    name = canonical_name(name)
    known = SETS.get(name)
    local = find_local(name)
    if local is not None and local.is_file():
        return read_jsonl(local, name)
    if known is not None:
        return load_hub(name, known, copy=local)
    folder = data_folder()
    looked = f"{folder} has no {name}.jsonl" if folder else f"{DATA_VARIABLE} names no folder of other sets"
    raise ValueError(
        f"problems: {name!r} is no set; give thinkmath, one of {', '.join(SETS)}, "
        f"or the path of a JSONL file ({looked})"
    )
