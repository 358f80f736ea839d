"""The dial of the terminal chat: what is asked of the thinking of the next replies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.types import ChatOptions

EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
_SECONDS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)")


@dataclass(slots=True)
class Dial:
    """What is asked of the next replies. budget: tokens, -1 no limit, None the server's default.

    thinking: True and False are asked of the chat template, None leaves it to the server.
    effort: a level in place of a budget. deadline: seconds for the whole reply. None leaves them out.
    members: what else the server's `thinking` object shall hold.
    """

    budget: int | None = None
    thinking: bool | None = None
    effort: str | None = None
    deadline: float | None = None
    members: Mapping[str, Any] = field(default_factory=dict)

    def set_budget(self, word: str) -> str:
        """Set from "off" or a number; returns what to tell the user. ValueError says what is right."""
        if word in ("off", "-1"):
            self.budget = -1
        elif word.isascii() and word.isdecimal():
            if int(word) == 0:
                self.thinking = False
                return self.describe()
            self.budget = int(word)
        else:
            raise ValueError(
                f"budget is {word!r}; it must be a number of tokens (0 or more) or off: /budget 64"
            )
        self.effort = None
        return self.told()

    def set_effort(self, word: str) -> str:
        """Set a level, which takes the budget's place, or "off"; as `set_budget`."""
        if word == "none":
            self.thinking = False
            return self.told()
        if word not in (*EFFORTS, "off"):
            levels = ", ".join(("none", *EFFORTS))
            raise ValueError(f"effort is {word!r}; it must be one of {levels} or off: /effort low")
        self.effort = None if word == "off" else word
        if self.effort is not None:
            self.budget = None
        return self.told()

    def set_deadline(self, word: str) -> str:
        """Set from "3s", "500ms", "2m", a number of seconds, or "off"; as `set_budget`."""
        found = _DURATION.fullmatch(word)
        seconds = float(found[1]) * _SECONDS.get(found[2], math.nan) if found else math.nan
        if word == "off":
            self.deadline = None
        elif not 0 < seconds < math.inf:
            raise ValueError(f"deadline is {word!r}; it must be a time above 0 or off: /deadline 3s")
        else:
            self.deadline = seconds
        return self.told()

    def told(self) -> str:
        """`describe`, for a user who has just turned the dial."""
        return self.describe() + (" until /think" if self.thinking is False else "")

    def describe(self) -> str:
        """The dial in a few words, used as the prompt too."""
        if self.thinking is False:
            words = "thinking off"
        elif self.effort is not None:
            words = f"effort {self.effort}"
        else:
            words = {None: "thinking on", -1: "no limit"}.get(self.budget, f"budget {self.budget}")
        return words if self.deadline is None else f"{words}, {self.deadline:g} s"

    def options(self) -> ChatOptions:
        """What the next request asks."""
        off = self.thinking is False
        members: dict[str, Any] = {"effort": None if off else self.effort, "deadline": self.deadline}
        thinking = {**self.members, **{name: value for name, value in members.items() if value is not None}}
        return {
            "budget": None if off else self.budget,
            "enable_thinking": self.thinking,
            "thinking": thinking or None,
        }
