"""Sampling parameters by name, for replies with thinking and without.

Sources: `qwen3` the Qwen3 technical report (arXiv 2505.09388, 4.6); `qwq` and `deepseek-r1` the evaluation
settings of their model cards. The last two models always think, so both modes have the same parameters.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Parameters:
    """Sampling parameters of a request; None leaves one to the server, 0 turns top_k or the penalty off."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature: {self.temperature} is not a temperature; give 0 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p} is not in (0, 1]; 1 turns it off")
        if self.top_k is not None and self.top_k < 0:
            raise ValueError(f"top_k: {self.top_k} is negative; 0 turns it off")
        if self.presence_penalty is not None and not -2 <= self.presence_penalty <= 2:
            raise ValueError(f"presence_penalty: {self.presence_penalty} is not in [-2, 2]; 0 turns it off")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are sampled: `thinking` with thinking on, `no_thinking` with it off."""

    preset: str
    thinking: Parameters
    no_thinking: Parameters

    @property
    def greedy(self) -> bool:
        return self.thinking.greedy and self.no_thinking.greedy

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_GREEDY = Parameters(0.0)
_QWQ = Parameters(0.6, 0.95, 40, 0.0)
_DEEPSEEK_R1 = Parameters(0.6, 0.95, 0, 0.0)

PRESETS: dict[str, Sampling] = {
    preset.preset: preset
    for preset in (
        Sampling("qwen3", Parameters(0.6, 0.95, 20, 0.0), Parameters(0.7, 0.8, 20, 1.5)),
        Sampling("greedy", _GREEDY, _GREEDY),
        Sampling("qwq", _QWQ, _QWQ),
        Sampling("deepseek-r1", _DEEPSEEK_R1, _DEEPSEEK_R1),
        Sampling("server", Parameters(), Parameters()),
    )
}
"""`server` leaves every parameter to the server."""

GREEDY = PRESETS["greedy"]
QWEN3 = PRESETS["qwen3"]


def sampling(preset: str, **values: float | None) -> Sampling:
    """A preset, with single parameters of both modes replaced by the `values` that are not None.

    A temperature of 0 is greedy decoding: what the preset says of the rest goes with it.
    Raises ValueError for an unknown preset or a value out of range.
    """
    if preset not in PRESETS:
        raise ValueError(f"sampling: {preset!r} is no preset; give one of {', '.join(PRESETS)}")
    changes: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    base = GREEDY if changes.get("temperature") == 0 else PRESETS[preset]
    return replace(
        base,
        thinking=replace(base.thinking, **changes),
        no_thinking=replace(base.no_thinking, **changes),
    )


def is_greedy(stored: Mapping[str, Any]) -> bool:
    """Whether the sampling settings of a manifest decode greedily in both modes."""
    return all(stored[mode]["temperature"] == 0 for mode in ("thinking", "no_thinking"))
