"""A stage's pairs: those it trains on, those it only measures, and why others are left out."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve.formats import ThinkingFormat
from trainer.distill.prompts import PromptStream
from trainer.preference.given import read_pairs
from trainer.preference.pairs import Pair, choose_pairs, pair_weights
from trainer.preference.sample import read_judged
from trainer.progress.records import read_records
from trainer.recipe.preference import PairStage
from trainer.rows.row import Row
from trainer.seeds import derive_rng
from trainer.sources import ExampleStream, open_sources


@dataclass(slots=True)
class PairSet:
    """training, held_out: pairs. left_out: why problems or pairs were left out, and how many."""

    training: list[Pair] = field(default_factory=list)
    held_out: list[Pair] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def all(self) -> list[Pair]:
        """Both, those that are trained on first."""
        return self.training + self.held_out


def prompt_stream(stage: PairStage, seed: int, form: ThinkingFormat) -> PromptStream:
    """What is asked for pairs: the held-out problems, then those that are trained on."""
    examples = open_sources(stage.data, seed, answered=stage.graded)
    return PromptStream(examples, stage.pairs.modes, form, seed, "pairs")


def problems_asked(stage: PairStage, examples: ExampleStream) -> int:
    """How many; ValueError if the data has fewer."""
    assert stage.pairs.problems is not None
    wanted, size = stage.pairs.held_out + stage.pairs.problems, examples.size
    if size is not None and wanted > size:
        raise ValueError(
            f"{stage.name}.pairs.problems: {stage.pairs.problems} and {stage.pairs.held_out} held out are "
            f"more than the data's {size}; give less"
        )
    return wanted


def given_pairs(stage: PairStage, form: ThinkingFormat) -> PairSet:
    """The pairs of `pairs.path`.

    Raises ValueError for what is wrong with the file, and if nothing is left to train on or to measure.
    """
    assert stage.pairs.path is not None
    named = read_pairs(stage.pairs.path, form)
    first = list(dict.fromkeys(name for name, _ in named))[: stage.pairs.held_out]
    return check_pairs(stage, _split(stage, named, set(first)))


def sampled_pairs(stage: PairStage, seed: int, path: Path) -> PairSet:
    """The pairs of the replies in `path`, a file of `sample_replies`.

    Problems of the held-out ones are not trained on, wherever they come again.
    """
    settings = stage.pairs
    records = read_records(path)
    asked = {record["problem"] for record in records[: settings.held_out]}
    rows, gaps, left_out = [], [], Counter[str]()
    for number, record in enumerate(records):
        name = record["problem"]
        if number >= settings.held_out and name in asked:
            left_out["problems are among the held-out ones"] += 1
            continue
        found = choose_pairs(read_judged(record), settings, derive_rng(seed, "pairs", number))
        if not found:
            left_out["problems have no two replies that differ enough"] += 1
        for choice in found:
            chosen, rejected = (
                _row(record, record["replies"][place]) for place in (choice.chosen, choice.rejected)
            )
            rows.append((name, chosen, rejected))
            gaps.append(choice.gap)
    named = [
        (name, Pair(chosen, rejected, weight))
        for (name, chosen, rejected), weight in zip(
            rows, pair_weights(gaps, settings.weights_by_gap), strict=True
        )
    ]
    pairs = _split(stage, named, asked)
    pairs.left_out += left_out
    return pairs


def write_pairs(path: Path, pairs: PairSet, form: ThinkingFormat) -> None:
    """The pairs as text, to be read: prompt, chosen, rejected, weight, and whether they are held out."""
    lines = []
    for number, pair in enumerate(pairs.all):
        texts = {
            "prompt": pair.chosen.ids[: pair.chosen.prompt],
            "chosen": pair.chosen.ids[pair.chosen.prompt :],
            "rejected": pair.rejected.ids[pair.rejected.prompt :],
        }
        record = {name: form.tokenizer.decode(ids) for name, ids in texts.items()}
        rest = {"weight": pair.weight, "held_out": number >= len(pairs.training)}
        lines.append(json.dumps(record | rest, ensure_ascii=False) + "\n")
    partial = path.with_suffix(".partial")
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(path)


def _split(stage: PairStage, named: Sequence[tuple[str, Pair]], held_out: set[str]) -> PairSet:
    pairs = PairSet()
    for name, pair in named:
        if pair.length > stage.max_length:
            pairs.left_out["pairs are longer than max_length"] += 1
        else:
            (pairs.held_out if name in held_out else pairs.training).append(pair)
    return pairs


def check_pairs(stage: PairStage, pairs: PairSet) -> PairSet:
    """The pairs; ValueError if none is left to train on, or to measure where some are to be held out."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in pairs.left_out.items()) or "there are none"
    if not pairs.training:
        raise ValueError(
            f"{stage.name}.pairs: no pair is left to train on: {reasons}; give problems that the model "
            "solves sometimes, more samples, or a larger max_length"
        )
    if stage.pairs.held_out and not pairs.held_out:
        raise ValueError(
            f"{stage.name}.pairs.held_out: {stage.pairs.held_out} leaves no pair to measure: {reasons}; "
            "give more"
        )
    return pairs


def _row(record: dict[str, Any], reply: dict[str, Any]) -> Row:
    prompt = record["prompt_ids"]
    weights = [0.0] * len(prompt) + [1.0 - inserted for inserted in reply["inserted"]]
    kind = "think" if record["thinks"] else "no_think"
    return Row([*prompt, *reply["token_ids"]], weights, len(prompt), kind)
