"""A user's own reward functions, by import path."""

import importlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from trainer.completion import Completion
from trainer.rewards.terms import Range
from trainer.rewards.types import Reward


@dataclass(frozen=True, slots=True)
class Custom:
    """A reward declared with `trainer.rewards.bounded`, and held to that range."""

    path: str
    function: Reward
    right: Range
    wrong: Range

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        values = self.function(group)
        if len(values) != len(group):
            raise ValueError(
                f"rewards: {self.path} gave {len(values)} values for a group of {len(group)} completions; "
                "it must give one for each"
            )
        for value in values:
            if not (math.isfinite(value) and self.right.low <= value <= self.right.high):
                raise ValueError(
                    f"rewards: {self.path} gave {value!r}, outside its declared range {self.right.low} to "
                    f"{self.right.high}; change the function or its @bounded"
                )
        return [float(value) for value in values]


def load_custom(path: str, options: Mapping[str, Any]) -> Custom:
    """The function that `module:function` names, to be called with a group and `options` by name.

    Raises ValueError if there is none, it does not take these options, or it declares no range.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"rewards: {path!r}: cannot import {module_name!r} ({error}); give the name of a module that "
            "Python finds from here (PYTHONPATH)"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"rewards: {path!r}: {module_name} has no function {name!r}")
    bounds = getattr(function, "bounds", None)
    if not isinstance(bounds, Range):
        raise ValueError(
            f"rewards: {path!r} does not declare the range of its values; decorate it with "
            "@trainer.rewards.bounded(low, high)"
        )
    signature = inspect.signature(function)
    try:
        signature.bind((), **options)
    except TypeError as error:
        raise ValueError(
            f"rewards: options of {path}: {error}; it is called as {name}(group, **options) and has the "
            f"signature {name}{signature}"
        ) from error
    return Custom(path, partial(function, **options), bounds, bounds)
