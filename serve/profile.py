"""The thinking profile of a model as the server uses it: measured accuracy and cost by budget, and levels.

`thinkdial eval profile` writes the file, and `evals.profile` says what else it holds.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from serve.budget import EFFORT_SHARES
from serve.checkpoint import checkpoint_files, checkpoint_hash

PROFILE = "thinking_profile.json"
"""Name of the file beside the checkpoint."""
FORMAT = 2
NO_LIMIT = "max"
"""How the file writes a budget without limit."""
BEYOND = 2
"""For what lies past the largest measured number, no limit is taken to lie at so many times that number."""
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What was measured at one budget of thinking tokens.

    budget: None is no limit, 0 thinking off. accuracy: measured, with 95 % limits `low` and `high`.
    fitted: the accuracy to expect, from a curve fitted to all budgets, so that noise at one decides little.
    thinking_tokens: mean number used.
    """

    budget: int | None
    accuracy: float
    low: float
    high: float
    fitted: float
    thinking_tokens: float


@dataclass(frozen=True, slots=True)
class BudgetCurve:
    """Expected accuracy and cost by budget, linear between the measured ones.

    points: ascending, no limit last. levels: the budget of each effort level, None for no limit.
    Below the first measured budget its accuracy holds. Past the last measured number the curve goes straight
    to the point without limit, as if that lay at `BEYOND` times the number (or the mean length of unlimited
    thinking, if that is more), and is level where there is no such point.
    """

    points: tuple[CurvePoint, ...]
    levels: Mapping[str, int | None]

    @property
    def peak(self) -> float:
        """The highest expected accuracy."""
        return max(point.fitted for point in self.points)

    def covers(self, budget: int | None) -> bool:
        """Whether the measurement reaches down to a budget."""
        first = self.points[0].budget
        return budget is None or (first is not None and first <= budget)

    def accuracy_at(self, budget: int | None) -> float:
        """Expected accuracy under a budget."""
        return self._at(budget, lambda point: point.fitted)

    def tokens_at(self, budget: int | None) -> float:
        """Expected mean number of thinking tokens under a budget, which it never exceeds."""
        expected = self._at(budget, lambda point: point.thinking_tokens)
        return expected if budget is None else min(expected, float(budget))

    def budget_for_accuracy(self, target: float) -> int | None:
        """The smallest budget, from the first measured on, whose expected accuracy is at least `target`.

        Raises ValueError where the peak is below it.
        """
        if target > self.peak + _SLACK:
            raise ValueError(f"{target:g} is above the peak of the measured curve, {self.peak:.4g}")
        places, values = self._places(), [point.fitted for point in self.points]
        if values[0] >= target - _SLACK:
            return self.points[0].budget
        for (left, right), (low, high) in zip(pairwise(places), pairwise(values), strict=True):
            if high >= target - _SLACK:
                share = min(1.0, (target - low) / (high - low))
                return self._budget(math.ceil(left + share * (right - left) - _SLACK))
        raise AssertionError("the peak is one of the points")

    def budget_for_tokens(self, mean_tokens: float) -> int | None:
        """The largest budget whose expected mean number of thinking tokens is at most `mean_tokens`.

        A budget of so many tokens always is one.
        """
        if self.tokens_at(None) <= mean_tokens + _SLACK:
            return None
        places, values = self._places(), [point.thinking_tokens for point in self.points]
        best = math.floor(mean_tokens + _SLACK)
        for (left, right), (low, high) in zip(pairwise(places), pairwise(values), strict=True):
            if low <= mean_tokens + _SLACK:
                share = 1.0 if high <= mean_tokens else (mean_tokens - low) / (high - low)
                best = max(best, math.floor(left + share * (right - left) + _SLACK))
        return best

    def _at(self, budget: int | None, value: Callable[[CurvePoint], float]) -> float:
        places, values = self._places(), [value(point) for point in self.points]
        if budget is None or budget >= places[-1]:
            return values[-1]
        if budget <= places[0]:
            return values[0]
        for (left, right), (low, high) in zip(pairwise(places), pairwise(values), strict=True):
            if budget <= right:
                return low + (high - low) * (budget - left) / (right - left)
        raise AssertionError("budget is below the last place")

    def _places(self) -> list[int]:
        """Where the points lie on the axis of tokens."""
        numbers = [point.budget for point in self.points if point.budget is not None]
        unlimited = BEYOND * max([*numbers, math.ceil(self.points[-1].thinking_tokens), 1])
        return [unlimited if point.budget is None else point.budget for point in self.points]

    def _budget(self, place: int) -> int | None:
        return None if self.points[-1].budget is None and place >= self._places()[-1] else place


@dataclass(frozen=True, slots=True)
class ThinkingProfile:
    """The profile of one model.

    model: the name it was served under. checkpoint_sha256: see `serve.checkpoint`; None if it is not told.
    families: curves of kinds of problems, by name. rule: how the levels were chosen.
    document: the file's JSON as read.
    """

    model: str
    checkpoint_sha256: str | None
    overall: BudgetCurve
    families: Mapping[str, BudgetCurve]
    rule: str
    document: Mapping[str, Any]

    def curve(self, family: str | None) -> BudgetCurve:
        """The curve of a family; None is all problems together. Raises KeyError for an unknown one."""
        return self.overall if family is None else self.families[family]


def find_profile(model: str, served: Sequence[str], named: Path | None = None) -> ThinkingProfile | None:
    """The profile of the model that is served: the file `named`, else the one beside its checkpoint, if any.

    model: folder or hub name. served: the names that it is served under. The profile must be this model's: by
    the hash of the checkpoint where both the profile and a folder have one, else by its name.
    Raises ValueError if it is another's, and where `read_profile` does; OSError if there is no file `named`.
    """
    folder = Path(model)
    path = named or folder / PROFILE
    if named is None and not path.is_file():
        return None
    profile = read_profile(path)
    remedy = (
        "measure this model (thinkdial eval sweep, then profile --checkpoint), give its profile with "
        "--profile, or serve it without one with --no-profile"
    )
    if profile.checkpoint_sha256 is not None and folder.is_dir():
        found = checkpoint_hash(checkpoint_files(folder))
        if found != profile.checkpoint_sha256:
            raise ValueError(
                f"{path}: checkpoint_sha256: {profile.checkpoint_sha256} is another checkpoint's, that of "
                f"{model} is {found}; {remedy}"
            )
    elif profile.model not in served:
        raise ValueError(
            f"{path}: model: {profile.model!r} is another model than is served ({', '.join(served)}), and "
            f"there are no two checkpoint hashes to compare; {remedy}"
        )
    return profile


def read_profile(path: Path) -> ThinkingProfile:
    """Read a profile. Raises ValueError naming file, field and value, OSError where there is no such file."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: it is not JSON ({error}); make it with `thinkdial eval profile`") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else document
        raise ValueError(
            f"{path}: format: {found!r} is not {FORMAT}; make the profile again with `thinkdial eval profile`"
        )
    reader = _Reader(path)
    if document.get("axis") != "tokens":
        raise reader.wrong("axis", document.get("axis"), "a server needs budgets in tokens; sweep those")
    digest = document.get("checkpoint_sha256")
    if digest is not None:
        reader.text("checkpoint_sha256", digest)
    families = reader.members("families", document.get("families"))
    return ThinkingProfile(
        model=reader.text("model", document.get("model")),
        checkpoint_sha256=digest,
        overall=reader.curve("", document),
        families={
            name: reader.curve(f"families.{name}.", reader.members(f"families.{name}", value))
            for name, value in families.items()
        },
        rule=reader.text("rule", document.get("rule")),
        document=document,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Checked values of one file; `prefix` and `field` say where they stand in it."""

    path: Path

    def wrong(self, field: str, value: object, why: str) -> ValueError:
        return ValueError(f"{self.path}: {field}: {value!r} is wrong; {why}")

    def text(self, field: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.wrong(field, value, "it must be a string")
        return value

    def members(self, field: str, value: object) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(field, value, "it must be an object")
        return value

    def number(self, field: str, value: object, most: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise self.wrong(field, value, f"it must be a number from 0 to {most:g}")
        return float(value)

    def budget(self, field: str, value: object) -> int | None:
        if value == NO_LIMIT:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.wrong(field, value, f"it must be tokens, at least 0, or {NO_LIMIT!r}")
        return value

    def curve(self, prefix: str, document: Mapping[str, Any]) -> BudgetCurve:
        rows = document.get("curve")
        if not isinstance(rows, list) or not rows:
            raise self.wrong(f"{prefix}curve", rows, "it must be a list of measured budgets")
        points = tuple(self._point(f"{prefix}curve[{i}]", row) for i, row in enumerate(rows))
        budgets = [math.inf if point.budget is None else point.budget for point in points]
        if any(right <= left for left, right in pairwise(budgets)):
            raise self.wrong(f"{prefix}curve", [row["budget"] for row in rows], "budgets must ascend")
        return BudgetCurve(points, self._levels(f"{prefix}recommended", document.get("recommended")))

    def _point(self, field: str, value: object) -> CurvePoint:
        row = self.members(field, value)
        accuracy, low, high, fitted = (
            self.number(f"{field}.{name}", row.get(name), 1) for name in _ACCURACIES
        )
        return CurvePoint(
            budget=self.budget(f"{field}.budget", row.get("budget")),
            accuracy=accuracy,
            low=low,
            high=high,
            fitted=fitted,
            thinking_tokens=self.number(
                f"{field}.mean_thinking_tokens", row.get("mean_thinking_tokens"), sys.float_info.max
            ),
        )

    def _levels(self, field: str, value: object) -> Mapping[str, int | None]:
        rows = self.members(field, value)
        return {
            name: self.budget(
                f"{field}.{name}.budget", self.members(f"{field}.{name}", rows.get(name)).get("budget")
            )
            for name in EFFORT_SHARES
        }


_ACCURACIES: Sequence[str] = ("accuracy", "low", "high", "fitted")
