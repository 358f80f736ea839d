"""How long a step of the engine takes: by the roofline of a GPU, or by what was measured on a server."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from scipy.optimize import nnls

from evals.simulate.hardware import Gpu
from evals.simulate.shape import ModelShape

FORMAT = 1


class StepTimes(Protocol):
    """Seconds of one step.

    decoding: requests that make a token. context: tokens in their caches, all together. prefill: prompt
    tokens computed. started: requests whose prompt is done with this step. resumed: those of them that go on
    after a cut.
    """

    def seconds(self, decoding: int, context: float, prefill: int, started: int, resumed: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Roofline:
    """A GPU's best time, divided by how much of it is reached.

    The time of a step is the longer of what memory and arithmetic take (Williams, Waterman and Patterson
    2009, "Roofline", CACM 52(4); for transformers Pope et al. 2022, arXiv:2211.05102, section 2):

        max( (weights read + KV bytes x context) / bandwidth, FLOPs / peak ) + overhead

    gpus: that share the weights, heads and work evenly (tensor parallel); what they tell each other is not
    counted. bandwidth_share, flops_share: of the data sheet's numbers that is reached. These two and
    `overhead` (seconds a step) are assumptions, for which measured step times are the cure.
    """

    shape: ModelShape
    gpu: Gpu
    gpus: int = 1
    bandwidth_share: float = 0.7
    flops_share: float = 0.5
    overhead: float = 0.0

    def seconds(self, decoding: int, context: float, prefill: int, started: int, resumed: int) -> float:
        shape = self.shape
        tokens = decoding + prefill
        moved = shape.read_bytes(tokens) + shape.kv_bytes_per_token * (context + prefill)
        # A prompt's tokens see half of it on average.
        pairs = context + prefill * prefill / 2
        computed = shape.flops_per_token * tokens + shape.flops_per_pair * pairs
        memory = moved / (self.gpu.bandwidth * self.bandwidth_share)
        arithmetic = computed / (self.gpu.flops * self.flops_share)
        return max(memory, arithmetic) / self.gpus + self.overhead


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured stretch of time in which a server was never idle, and all that it did.

    steps: of the engine. tokens: made. context: cached tokens that they looked at, summed over the steps.
    prefill: prompt tokens computed. started: requests begun. resumed: requests that went on after a cut.
    One decode step of 32 requests with 64,000 cached tokens is `Measured(seconds, 1, 32, 64000)`.
    """

    seconds: float
    steps: float
    tokens: float
    context: float
    prefill: float = 0.0
    started: float = 0.0
    resumed: float = 0.0

    @property
    def work(self) -> list[float]:
        return [self.steps, self.tokens, self.context, self.prefill, self.started, self.resumed]


@dataclass(frozen=True, slots=True)
class LinearSteps:
    """Seconds of a step as a sum of what it does: each member is the price of one.

    step: of the step itself. token, context, prefill, started, resumed: as of `Measured`.
    """

    step: float
    token: float
    context: float
    prefill: float
    started: float
    resumed: float

    @classmethod
    def fit(cls, rows: Sequence[Measured]) -> Self:
        """Least squares of the relative errors, no price below zero (Lawson and Hanson 1974, chapter 23).

        Raises ValueError unless there are at least as many rows as prices.
        """
        if len(rows) < len(fields(cls)) or any(row.seconds <= 0 for row in rows):
            raise ValueError(
                f"rows: {len(rows)} measured stretches are wrong because a fit of {len(fields(cls))} prices "
                "needs as many, each of more than 0 seconds; measure again"
            )
        seconds = np.array([row.seconds for row in rows])
        work = np.array([row.work for row in rows]) / seconds[:, None]
        # Columns of one size, or the solver's tolerance hides the small prices.
        scale = np.maximum(np.abs(work).max(axis=0), 1e-300)
        prices, _ = nnls(work / scale, np.ones(len(rows)))
        return cls(*(prices / scale).tolist())

    def seconds(self, decoding: int, context: float, prefill: int, started: int, resumed: int) -> float:
        # The step that ends a prompt makes its first token.
        return (
            self.step
            + self.token * (decoding + started)
            + self.context * context
            + self.prefill * prefill
            + self.started * (started - resumed)
            + self.resumed * resumed
        )

    def of(self, row: Measured) -> float:
        """What the fit says of a stretch."""
        return float(np.dot([*asdict(self).values()], row.work))


@dataclass(frozen=True, slots=True)
class MeasuredSteps:
    """A file of measured step times. about: model and machine. limits: of the server's cache."""

    rows: tuple[Measured, ...]
    limits: Mapping[str, int]
    about: Mapping[str, Any]

    def fit(self) -> LinearSteps:
        return LinearSteps.fit(self.rows)

    def write(self, path: Path) -> None:
        document = {
            "format": FORMAT,
            "about": dict(self.about),
            "limits": dict(self.limits),
            "rows": [asdict(row) for row in self.rows],
        }
        path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ValueError naming file and field, OSError where there is no such file."""
        try:
            document = json.loads(path.read_text("utf-8"))
            if document["format"] != FORMAT:
                raise ValueError(f"format: {document['format']!r} is not {FORMAT}")
            rows = tuple(Measured(**row) for row in document["rows"])
            limits = {name: int(value) for name, value in document.get("limits", {}).items()}
            return cls(rows, limits, document.get("about", {}))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}: these are no measured step times ({error}); make them with `thinkdial eval steps`"
            ) from None
