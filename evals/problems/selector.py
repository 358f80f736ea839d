"""What a user asks for: `aime24`, `math500[level=4-5,subject=Algebra]`, `my.jsonl[level=1|3]`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from evals.problems.problem import Problem

KEYS = ("level", "subject", "id")
_SPEC = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<filters>[^\[\]]*)\])?")
_RANGE = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True, slots=True)
class Selector:
    """A problem set's name or path, and for each key the values of which a problem must have one.

    Values of `level` that are whole numbers are compared as numbers and may be a range `1-3`, both ends
    included; all else is compared as words, without case and whatever stands between the words. A problem of
    several subjects ("Algebra, Geometry") has each.
    """

    name: str
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        filters = ",".join(f"{key}={'|'.join(values)}" for key, values in self.filters.items())
        return f"{self.name}[{filters}]" if filters else self.name

    def matches(self, problem: Problem) -> bool:
        """Whether a problem is selected."""
        return all(_has(getattr(problem, key), values) for key, values in self.filters.items())

    def levels(self, among: Iterable[int]) -> tuple[int, ...]:
        """The levels of `among` that are selected."""
        values = self.filters.get("level")
        return tuple(level for level in among if values is None or _has(level, values))

    def subjects(self, among: Iterable[str]) -> tuple[str, ...]:
        """The subjects of `among` that are selected."""
        values = self.filters.get("subject")
        return tuple(subject for subject in among if values is None or _has(subject, values))


def parse_selectors(specs: str | Sequence[str]) -> list[Selector]:
    """The selectors of one or more specs; a spec may hold several, separated by commas.

    Raises:
        ValueError: none given, brackets that do not match, or an unknown key.
    """
    given = [specs] if isinstance(specs, str) else specs
    parts = [part.strip() for spec in given for part in re.split(r",(?![^\[]*\])", spec)]
    selectors = [_parse(part) for part in parts if part]
    if not selectors:
        raise ValueError(
            f"problems: {specs!r} names no set; give names or paths, e.g. aime24,math500[level=5]"
        )
    return selectors


def _parse(spec: str) -> Selector:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ValueError(f"problems: {spec!r} is not NAME or NAME[KEY=VALUE,...], e.g. math500[level=1-3]")
    filters: dict[str, tuple[str, ...]] = {}
    for part in (match["filters"] or "").split(","):
        if not part.strip():
            continue
        key, equals, values = (piece.strip() for piece in part.partition("="))
        chosen = tuple(value.strip() for value in values.split("|") if value.strip())
        if not equals or key not in KEYS or not chosen:
            raise ValueError(
                f"problems: {part.strip()!r} in {spec!r} is not a filter; give KEY=VALUE or KEY=VALUE|VALUE "
                f"with a key of {', '.join(KEYS)}"
            )
        if key in filters:
            raise ValueError(f"problems: {key!r} is given twice in {spec!r}; give {key}=VALUE|VALUE once")
        filters[key] = chosen
    return Selector(match["name"].strip(), filters)


def _has(actual: int | str | None, values: tuple[str, ...]) -> bool:
    if actual is None:
        return False
    if isinstance(actual, int):
        return any(_covers(value, actual) for value in values)
    named = {_words(part) for part in (actual, *actual.split(","))}
    return any(_words(value) in named for value in values)


def _covers(value: str, number: int) -> bool:
    bounds = _RANGE.fullmatch(value)
    if bounds:
        return int(bounds[1]) <= number <= int(bounds[2])
    return value.isdecimal() and int(value) == number


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.findall(r"[^\W_]+", text.lower()) if word != "and")
