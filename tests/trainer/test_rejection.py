"""Rejection sampling: what is kept, why the rest is dropped, and that a killed run redoes nothing."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from serve import DEFAULT_MODEL
from serve.formats import ThinkingFormat, load_format
from trainer.recipe.data import Source
from trainer.recipe.rl import Rollouts
from trainer.recipe.stages import Rejection
from trainer.rollouts import open_backend
from trainer.rollouts.types import Rollout, RolloutRequest
from trainer.rows import rejection
from trainer.rows.rejection import Sample, choose, malformed, read_kept, sample_thinking
from trainer.sources import open_sources

ROLLOUTS = Rollouts(backend="transformers", max_tokens=96, answer_tokens=20)


@pytest.fixture(scope="module")
def form() -> ThinkingFormat:
    return load_format(AutoTokenizer.from_pretrained(DEFAULT_MODEL), DEFAULT_MODEL)


def rollout(form: ThinkingFormat, text: str, stop_cause: str = "natural", finish: str = "stop") -> Rollout:
    ids = form.encode(text)
    marks = (False,) * len(ids)
    request = RolloutRequest(prompt_ids=(1,), max_tokens=100, seed=0)
    return Rollout(request, ids, (0.0,) * len(ids), marks, (0,) * len(ids), 3, stop_cause, finish)


def test_replies_are_dropped_for_what_is_wrong_with_them(form: ThinkingFormat) -> None:
    good = "<think>\n1+1=2\n</think>\n\nThe answer is \\boxed{2}.<|im_end|>"
    assert malformed(rollout(form, good), form) is None
    assert malformed(rollout(form, good, finish="length"), form) == "not ended"
    assert malformed(rollout(form, good, stop_cause="budget"), form) == "thinking ended by budget"
    assert malformed(rollout(form, good + good), form) == "not one block"
    assert malformed(rollout(form, "The answer is \\boxed{2}."), form) == "not one block"


def test_different_right_replies_are_kept_the_shortest_first() -> None:
    tried = [
        Sample(0, "long", "2", 30, None),
        Sample(0, "wrong", "3", 5, "wrong"),
        Sample(0, "short", "2", 10, None),
        Sample(0, "short", "2", 10, None),
        Sample(0, "longest", "2", 40, None),
    ]
    settings = Rejection(samples=5, keep=2, rollouts=ROLLOUTS)
    reasons = {(sample.thinking, sample.dropped) for sample in choose(tried, settings)}
    assert ("long", None) in reasons
    assert ("longest", "enough of this problem") in reasons
    by_length = choose(tried, settings.model_copy(update={"shortest": True}))
    assert [sample.thinking for sample in by_length if sample.dropped is None] == ["short", "long"]
    assert [sample.dropped for sample in by_length].count("repeated") == 1


@pytest.mark.slow
def test_the_default_models_own_thinking_is_kept_and_a_resumed_run_redoes_nothing(
    form: ThinkingFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejection, "BLOCK", 4)
    settings = Rejection(problems=6, samples=2, keep=1, rollouts=ROLLOUTS)
    examples = open_sources([Source(kind="thinkmath", levels={1: 1})], 0)
    backend = open_backend(ROLLOUTS, DEFAULT_MODEL, 0)
    sample_thinking(settings, backend, form, examples, 0, tmp_path)
    files = sorted(tmp_path.iterdir())
    texts = [path.read_text("utf-8") for path in files]
    records = [json.loads(line) for text in texts for line in text.splitlines()]
    assert [record["index"] for record in records] == [i for i in range(6) for _ in range(2)]
    kept = [record for record in records if record["dropped"] is None]
    assert kept
    stream = read_kept(tmp_path, 0)
    assert stream.size == len(kept)
    example = stream.at(0)
    assert example.thinking
    assert form.close not in example.thinking
    assert f"\\boxed{{{example.problem.answer}}}" in (example.response or "")

    # As a kill between the two blocks leaves it.
    files[1].unlink()
    untouched = files[0].stat().st_mtime_ns
    sample_thinking(settings, backend, form, examples, 0, tmp_path)
    assert files[0].stat().st_mtime_ns == untouched
    assert [path.read_text("utf-8") for path in files] == texts

    for path in files:
        lines = [{**json.loads(line), "dropped": "wrong"} for line in path.read_text("utf-8").splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(ValueError, match="none of 12 sampled replies was kept"):
        read_kept(tmp_path, 0)
