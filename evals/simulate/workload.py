"""What is asked: arrivals, and how long prompts, thoughts and answers are."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.simulate.requests import Format, Request
from evals.store import iter_records, read_manifest

CENSORED = "length"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one request: its prompt, what it thinks by itself, and its answer, end of turn included."""

    prompt: int
    thinking: int
    answer: int


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Lengths by their median, in tokens, and sigma, the standard deviation of their logarithm."""

    median: float
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.median < 1 or self.sigma < 0:
            raise ValueError(
                f"lengths: {self.median:g},{self.sigma:g} is wrong because a median is at least 1 token and "
                "a sigma not below 0; give MEDIAN or MEDIAN,SIGMA, e.g. 2000,0.8"
            )

    def draw(self, source: random.Random) -> int:
        return max(1, round(self.median * math.exp(self.sigma * source.gauss(0, 1))))


def lognormal_lengths(
    prompt: Lognormal, thinking: Lognormal, answer: Lognormal, count: int, seed: int
) -> list[Lengths]:
    """Independent draws."""
    source = random.Random(f"{seed}/lengths")
    return [Lengths(prompt.draw(source), thinking.draw(source), answer.draw(source)) for _ in range(count)]


def run_lengths(directory: Path) -> list[Lengths]:
    """Of the uncut traces of a run, one for each.

    Traces that ran out of tokens are taken as long as they got, so that what is longer counts as shorter.
    Raises ValueError for a directory without such traces.
    """
    read_manifest(directory)
    found = [
        Lengths(record.prompt_tokens or 1, record.thinking_tokens or 0, max(1, record.answer_tokens or 0))
        for record in iter_records(directory)
        if record.kind == "trace"
    ]
    if not found:
        raise ValueError(
            f"run: {directory} is wrong because it holds no uncut trace with its token counts; give a forked "
            "run of `thinkdial eval sweep` with the budget max"
        )
    return found


def run_format(directory: Path) -> Format:
    """Tokens of the tags and the early-stop text that a run was made with."""
    form = read_manifest(directory)["settings"]["thinking_format"]
    if form is None:
        return Format()
    return Format(open_tokens=int(form["opened_by"] == "model"), stop_tokens=len(form["stop_ids"]))


def poisson(
    lengths: Sequence[Lengths], rate: float, count: int, budget: int | None, seed: int
) -> list[Request]:
    """Requests of a Poisson process of `rate` a second, their lengths drawn with replacement.

    The same seed gives the same lengths in the same order under every rate and budget, and arrivals that are
    those of another rate, stretched: differences between plans are not differences of luck.
    """
    times, picks = random.Random(f"{seed}/times"), random.Random(f"{seed}/picks")
    now = 0.0
    made = []
    for _ in range(count):
        now += times.expovariate(1.0)
        it = picks.choice(lengths)
        made.append(Request(now / rate, it.prompt, it.thinking, it.answer, budget))
    return made
