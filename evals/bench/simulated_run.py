"""A run as a sweep would store it, drawn from a simple law instead of a model: for benchmarks and examples.

A problem has a level, a length it is thought about and a chance to be solved that grows with the share of
that length which was thought. Replies come with token ids and, if asked, log probabilities, stated
confidences and direct replies for a cross-check. Everything follows from the seed.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evals.budgets import Budget, axis_of
from evals.records import Kind, Record, TokenLogprobs, content_hash
from evals.store import SAMPLES, Store

OPEN, CLOSE, END = 90, 91, 2
STOP_IDS = [70, 71, CLOSE]
SUBJECTS = ("algebra", "geometry", "number theory")
_WORDS = [" so", " then", " 7", " +", " x", " is", " wait", " check", " 12", " =", " next", " mod", ",", "."]
_FORMS = ("{}", "\\frac{{{}}}{{7}}", "{}\\sqrt{{3}}", "(1, {})", "x^2 + {}", "[0, {})", "{}^\\circ")
_FORM_SHARES = (0.7, 0.1, 0.06, 0.04, 0.04, 0.03, 0.03)
"""How answers are written, about as often as in MATH."""
_WRONG = (0.55, 0.2, 0.15, 0.1)
_PROSE = ["We", *(f" {word}" for word in ["put", "the", "parts", "together", "and", "simplify"] * 5), ". "]
_EFFORT = {"none": 0.0, "minimal": 0.1, "low": 0.3, "medium": 0.7, "high": 1.2, "xhigh": 1.6, "off": 0.0}


@dataclass(frozen=True, slots=True)
class Simulation:
    """What to draw.

    length: median natural thinking length in tokens of the middle level. ability: shifts every problem's
    chance to be solved (in logits). crosscheck: share of the forked points drawn a second time directly.
    sampled: False draws greedily, so that a direct reply is the forked one token by token.
    """

    problems: int = 60
    samples: int = 4
    budgets: tuple[Budget, ...] = (0, 32, 64, 128, 256, 512, "max")
    sets: tuple[str, ...] = ("aime25", "amc23", "math500")
    length: int = 160
    ability: float = 0.0
    logprobs: bool = True
    confidence: bool = True
    crosscheck: float = 0.1
    sampled: bool = True
    max_tokens: int = 600
    seed: int = 0


def settings_of(simulation: Simulation) -> dict[str, Any]:
    """The manifest's settings for such a run."""
    sampled = simulation.sampled
    tokens = axis_of(simulation.budgets) == "tokens"
    return {
        "problems": list(simulation.sets),
        "prompts": dict.fromkeys(simulation.sets, "boxed"),
        "model": "simulated/model",
        "max_model_len": 4096,
        "mode": "forked" if tokens else "direct",
        "axis": axis_of(simulation.budgets),
        "dialect": "thinkdial" if tokens else "openai",
        "thinking_format": {
            "open": "<think>",
            "close": "</think>",
            "open_id": OPEN,
            "close_id": CLOSE,
            "opened_by": "model",
            "stop_text": "\nTime is up.\n</think>\n\n",
            "stop_ids": STOP_IDS,
        }
        if tokens
        else None,
        "logprobs": 5 if simulation.logprobs else None,
        "crosscheck": simulation.crosscheck if tokens else 0.0,
        "sampling": {
            "preset": "qwen3" if sampled else "greedy",
            "thinking": {"temperature": 0.6 if sampled else 0.0, "top_p": 0.95, "top_k": 20},
            "no_thinking": {"temperature": 0.7 if sampled else 0.0, "top_p": 0.8, "top_k": 20},
            "max_tokens": simulation.max_tokens,
            "seed": simulation.seed,
        },
    }


def write_simulation(directory: Path, simulation: Simulation) -> int:
    """Write the run directory; returns the number of records. Lines are not synced one by one."""
    problems = [f"{_set(simulation, q)}/{q}" for q in range(simulation.problems)]
    plan = {
        "budgets": list(simulation.budgets),
        "samples": simulation.samples,
        "problems": {name: content_hash(name) for name in problems},
    }
    with Store.open(directory, settings_of(simulation), plan, {"thinkdial": "simulated"}):
        count = 0
        with (directory / SAMPLES).open("w", encoding="ascii") as file:
            for record in simulate(simulation):
                file.write(json.dumps(record.to_json(), separators=(",", ":")) + "\n")
                count += 1
    return count


def simulate(simulation: Simulation) -> Iterator[Record]:
    """The records of the run, problem by problem."""
    for q in range(simulation.problems):
        problem = _Problem(simulation, q)
        for sample in range(simulation.samples):
            yield from problem.replies(sample)


def _set(simulation: Simulation, q: int) -> str:
    return simulation.sets[q % len(simulation.sets)]


class _Problem:
    """One problem: its difficulty, and its replies."""

    def __init__(self, simulation: Simulation, q: int) -> None:
        self._simulation = simulation
        self._rng = np.random.default_rng([simulation.seed, q])
        # The problem is the same in every run: another seed draws other replies to it.
        rng = np.random.default_rng(q)
        self.level = 1 + q // len(simulation.sets) % 3
        self._name = f"{_set(simulation, q)}/{q}"
        self._subject = SUBJECTS[int(rng.integers(3))]
        value, form = int(rng.integers(10, 1000)), _FORMS[int(rng.choice(len(_FORMS), p=_FORM_SHARES))]
        self._gold, *self._wrong = (form.format(value + change) for change in (0, 1, 2, -3, 10))
        self._length = simulation.length * 1.8 ** (self.level - 2) * math.exp(0.3 * rng.normal())
        logit = simulation.ability + 2.2 - 0.9 * self.level + 1.5 * rng.normal()
        self._solved = 0.03 + 0.96 / (1 + math.exp(-logit))
        self._guessed = 0.05 + 0.3 * self._solved**2

    def replies(self, sample: int) -> Iterator[Record]:
        """All records of one sample."""
        simulation, rng = self._simulation, self._rng
        if axis_of(simulation.budgets) != "tokens":
            for budget in simulation.budgets:
                yield from self._with_confidence(self._at_effort(sample, budget))
            return
        length = max(1, int(self._length * math.exp(0.25 * rng.normal())))
        luck = rng.random()
        if 0 in simulation.budgets:
            yield from self._with_confidence(self._no_think(sample))
        if all(budget == 0 for budget in simulation.budgets):
            return
        trace = self._trace("trace", sample, "max", length, luck)
        yield from self._with_confidence(trace)
        for budget in simulation.budgets:
            if not isinstance(budget, int) or budget == 0:
                continue
            fork = None
            if budget < length:
                # Some luck is drawn anew at each cut: answers flip back and forth along a trace.
                fork = self._fork(trace, budget, length, luck if rng.random() < 0.8 else rng.random())
                yield from self._with_confidence(fork)
            if rng.random() < simulation.crosscheck:
                yield self._direct(trace, fork, budget)

    def _chance(self, share: float) -> float:
        return self._guessed + (self._solved - self._guessed) * min(1.0, share) ** 1.3

    def _record(self, kind: Kind, sample: int, budget: Budget, **fields: Any) -> Record:
        return Record(
            key=content_hash([kind, self._name, sample, budget]),
            kind=kind,
            problem=self._name,
            level=self.level,
            subject=self._subject,
            chance=None,
            gold=self._gold,
            sample=sample,
            budget=budget,
            seed=int(self._rng.integers(2**31)) if self._simulation.sampled else None,
            set=self._name.partition("/")[0],
            endpoint="http://localhost:8000",
            **fields,
        )

    def _answer(self, chance: float, luck: float, escapes: bool = False) -> tuple[str, list[str], float]:
        """Text and tokens of an answer and how likely the answer's own tokens are."""
        right = luck < chance
        which = int(self._rng.choice(4, p=_WRONG))
        value = self._gold if right else self._wrong[which]
        sure = chance if right else (1 - chance) * _WRONG[which]
        sure = float(np.clip(sure**0.5 + 0.08 * self._rng.normal(), 0.02, 0.999))
        pieces = [*_PROSE, "The", " answer", " is", " $", "\\boxed", "{", *value, "}", "$", "."]
        if escapes:
            pieces = ["Wait", ",", " let", " me", " think", " again"] * 12 + pieces
        return "".join(pieces), [*pieces, "<|im_end|>"], sure

    def _logprobs(self, thinking: int, answer: list[str], sure: float) -> TokenLogprobs | None:
        """thinking: thinking tokens with their two tags, 0 for none."""
        if not self._simulation.logprobs:
            return None
        rng = self._rng
        pieces = [_WORDS[i] for i in rng.integers(len(_WORDS), size=max(0, thinking - 2))]
        if thinking:
            pieces = ["<think>", *pieces, "</think>"]
        # Entropy falls along a trace; one token in five is a fork in the road.
        n = len(pieces)
        entropy = (
            0.1 + 0.25 * rng.random(n) * np.linspace(1.5, 0.5, n) + (rng.random(n) < 0.2) * rng.random(n)
        )
        chosen = -entropy * rng.random(n)
        tail = [0.02] * len(answer)
        likely = [-0.01] * len(answer)
        for index in range(answer.index("\\boxed") + 2, len(answer) - 4):
            likely[index], tail[index] = math.log(sure), -math.log(max(sure, 0.05))
        entropies = [*entropy.round(4).tolist(), *(round(value, 4) for value in tail)]
        return TokenLogprobs(
            pieces=[*pieces, *answer],
            chosen=[*chosen.round(4).tolist(), *(round(value, 4) for value in likely)],
            top=5,
            entropy=entropies,
            rest=[round(0.04 * value, 5) for value in entropies],
        )

    def _ids(self, count: int) -> list[int]:
        return self._rng.integers(100, 30000, size=count).tolist()

    def _trace(self, kind: Kind, sample: int, budget: Budget, length: int, luck: float) -> Record:
        censored = length + 20 > self._simulation.max_tokens
        length = min(length, self._simulation.max_tokens - 20)
        overthought = 0.85 if length > 1.5 * self._length else 1.0
        text, pieces, sure = self._answer(self._chance(1.0) * overthought, luck)
        ids = [*self._ids(len(pieces) - 1), END]
        if censored:
            text, pieces, ids = "", [], []
        token_ids = [OPEN, *self._ids(length), *([] if censored else [CLOSE]), *ids]
        logprobs = None if censored else self._logprobs(length + 2, pieces, sure)
        return self._record(
            kind,
            sample,
            budget,
            stop_cause="length" if censored else "natural",
            thinking_tokens=length,
            inserted_tokens=0,
            answer_tokens=len(ids),
            generated_tokens=len(token_ids),
            finish_reason="length" if censored else "stop",
            seconds=round(0.02 * len(token_ids), 3),
            thinking="".join(logprobs.pieces[1 : length + 1]) if logprobs else " so" * length,
            answer=text,
            token_ids=token_ids,
            prompt_token_ids=list(range(100, 140)),
            prompt_tokens=40,
            logprobs=logprobs,
        )

    def _fork(self, trace: Record, budget: int, length: int, luck: float) -> Record:
        text, pieces, sure = self._answer(self._chance(budget / length), luck, self._rng.random() < 0.04)
        return self._record(
            "fork",
            trace.sample,
            budget,
            stop_cause="budget",
            thinking_tokens=budget,
            inserted_tokens=len(STOP_IDS),
            answer_tokens=len(pieces),
            generated_tokens=len(pieces),
            finish_reason="stop",
            seconds=0.25,
            thinking=None,
            answer=text,
            token_ids=[*self._ids(len(pieces) - 1), END],
            prompt_tokens=41 + budget,
            trace=trace.key,
            cut=budget + 1,
            logprobs=self._logprobs(0, pieces, sure),
        )

    def _no_think(self, sample: int) -> Record:
        text, pieces, sure = self._answer(self._guessed, self._rng.random())
        return self._record(
            "no_think",
            sample,
            0,
            stop_cause="disabled",
            thinking_tokens=0,
            inserted_tokens=0,
            answer_tokens=len(pieces),
            generated_tokens=len(pieces),
            finish_reason="stop",
            seconds=0.25,
            thinking="",
            answer=text,
            token_ids=[*self._ids(len(pieces) - 1), END],
            prompt_tokens=44,
            logprobs=self._logprobs(0, pieces, sure),
        )

    def _direct(self, trace: Record, fork: Record | None, budget: int) -> Record:
        if self._simulation.sampled:
            length = max(1, int(self._length * math.exp(0.25 * self._rng.normal())))
            luck = self._rng.random()
            trace = self._trace("direct", trace.sample, budget, length, luck)
            fork = self._fork(trace, budget, length, luck) if budget < length else None
        reply = trace if fork is None else fork
        assert trace.token_ids is not None
        assert reply.token_ids is not None
        token_ids = list(trace.token_ids)
        if fork is not None:
            token_ids = [*trace.token_ids[: budget + 1], *STOP_IDS, *reply.token_ids]
        return replace(
            reply,
            key=content_hash(["direct", self._name, trace.sample, budget]),
            kind="direct",
            budget=budget,
            generated_tokens=len(token_ids) - (0 if fork is None else len(STOP_IDS)),
            thinking="" if fork is None else " so" * budget,
            token_ids=token_ids,
            prompt_tokens=40,
            trace=None,
            cut=None,
            logprobs=None,
        )

    def _at_effort(self, sample: int, budget: Budget) -> Record:
        share = _EFFORT.get(str(budget), 1.0)
        length = int(share * self._length * math.exp(0.25 * self._rng.normal()))
        text, pieces, sure = self._answer(self._chance(share), self._rng.random())
        return self._record(
            "direct",
            sample,
            budget,
            stop_cause=None,
            thinking_tokens=length,
            inserted_tokens=0,
            answer_tokens=len(pieces),
            generated_tokens=length + len(pieces),
            finish_reason="stop",
            seconds=0.02 * length + 0.25,
            thinking=" so" * length,
            answer=text,
            prompt_tokens=40,
            logprobs=self._logprobs(0, pieces, sure),
        )

    def _with_confidence(self, record: Record) -> Sequence[Record]:
        if not self._simulation.confidence or not record.answer:
            return [record]
        share = min(1.0, (record.thinking_tokens or 0) / self._length)
        stated = float(np.clip(self._chance(share) + 0.2 + 0.12 * self._rng.normal(), 0.05, 1))
        return [
            record,
            self._record(
                "confidence",
                record.sample,
                record.budget,
                stop_cause="disabled",
                thinking_tokens=0,
                inserted_tokens=0,
                answer_tokens=3,
                generated_tokens=3,
                finish_reason="stop",
                seconds=0.1,
                thinking="",
                answer=f"{5 * round(20 * stated)}%",
                prompt_tokens=120,
                of=record.key,
            ),
        ]
