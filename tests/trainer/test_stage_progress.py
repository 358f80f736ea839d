"""A stage's progress: records survive a kill and a resume, the line says what matters."""

import itertools
import json
import math
import multiprocessing
import re
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from transformers import AutoTokenizer

from serve import DEFAULT_MODEL
from trainer.context import StageContext
from trainer.progress import Progress, trace_of
from trainer.progress.plots import PANELS, panels_of, plot_metrics, read_series, running_mean
from trainer.progress.records import Records, read_records
from trainer.progress.traces import render_trace
from trainer.recipe import Recipe
from trainer.rollouts.types import Rollout, RolloutRequest


def context_in(folder: Path, trackers: Sequence[str] = ()) -> StageContext:
    recipe = Recipe.model_validate(
        {
            "model": {"path": "unused"},
            "logging": {"trackers": list(trackers), "project": "tests", "traces": 2},
            "stages": [
                {"kind": "cold_start", "optimizer": {"adamw_lr": 0.1}, "tokens": 1, "batch_tokens": 1}
            ],
        }
    )
    run = folder / "run"
    return StageContext(
        recipe=recipe,
        stage=recipe.stages[0],
        seed=0,
        start=run / "init",
        run=run,
        folder=run / "cold_start",
    )


def test_a_resumed_stage_drops_later_records_and_counts_tokens_on(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    with Progress(context, total_steps=10) as progress:
        for step in range(1, 7):
            progress.log(step, {"loss": 1 / step}, tokens=100)
            progress.traces(step, [{"prompt": "p", "reply": []}])
    with Progress(context, total_steps=10, resume_step=4) as progress:
        progress.log(5, {"loss": 7.0}, tokens=50)
    records = read_records(context.folder / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5]
    assert records[-1]["tokens"] == 450
    assert records[-1]["loss"] == 7.0
    assert [trace["step"] for trace in read_records(context.folder / "traces.jsonl")] == [1, 2, 3, 4]


def test_a_run_begun_anew_keeps_nothing(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    for _ in range(2):
        with Progress(context, total_steps=1) as progress:
            progress.log(1, {"loss": 1.0})
    assert len(read_records(context.folder / "metrics.jsonl")) == 1


def write_forever(path: Path, reports: Connection) -> None:
    records = Records(path, 0)
    for step in itertools.count(1):
        records.append({"step": step, "text": "é" * 3000})
        reports.send(step)


def test_a_kill_loses_nothing_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reports, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=write_forever, args=(path, sender))
    child.start()
    reported = [reports.recv() for _ in range(200)]
    child.kill()
    child.join()
    while reports.poll():
        reported.append(reports.recv())
    steps = [record["step"] for record in read_records(path)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= reported[-1]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.text(), min_size=1, max_size=5),
    st.integers(min_value=0),
    st.integers(min_value=0, max_value=5),
)
def test_any_cut_of_the_file_is_read_and_continued(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cut: int, resume: int
) -> None:
    path = tmp_path_factory.mktemp("records") / "metrics.jsonl"
    records = Records(path, 0)
    lengths = []
    for step, text in enumerate(texts, start=1):
        records.append({"step": step, "text": text})
        lengths.append(path.stat().st_size)
    records.close()
    kept = min(cut, lengths[-1])
    path.write_bytes(path.read_bytes()[:kept])
    again = Records(path, resume)
    again.append({"step": resume + 1, "text": "next"})
    again.close()
    whole = sum(length <= kept for length in lengths)
    assert [record["text"] for record in read_records(path)] == [*texts[: min(whole, resume)], "next"]


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    with Progress(context, total_steps=1) as progress:
        progress.log(1, {"loss": math.nan, "kl": math.inf})
    line = (context.folder / "metrics.jsonl").read_text()
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["loss"] is None
    assert record["kl"] is None


def test_the_line_has_loss_reward_speed_and_time_left_and_is_rare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(context_in(tmp_path), total_steps=100) as progress:
        for step in range(1, 101):
            metrics = {"loss": 0.25, "reward/total": 0.5, "reward/format": 1.0}
            progress.log(step, metrics | ({"eval/think": 0.75} if step == 50 else {}), tokens=10)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3, "the first, the measurement, the last"
    shown = r"cold_start: step 50/100: loss 0\.25, reward/total 0\.5, eval/think 0\.75"
    assert re.fullmatch(shown + r", [\d,]+ tokens/s, \d+ s left", lines[1])


def test_the_time_left_is_that_of_the_steps_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 90))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Progress(context_in(tmp_path), total_steps=300, resume_step=100) as progress:
        for step in range(101, 104):
            progress.log(step, {"loss": 1.0}, tokens=900)
    *_, last = capsys.readouterr().err.splitlines()
    assert last.endswith("10 tokens/s, 4 h 56 min left")


def test_an_interrupt_still_draws_and_keeps_everything(tmp_path: Path) -> None:
    context = context_in(tmp_path)

    def interrupted() -> None:
        with Progress(context, total_steps=10) as progress:
            progress.log(1, {"loss": 1.0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(read_records(context.folder / "metrics.jsonl")) == 1
    assert imread(context.folder / "metrics.png").shape[2] == 4


def test_panels_hold_what_has_data() -> None:
    one = [(1, 0.5)]
    names = ["loss", "reward/total", "eval/kl/think", "eval/think", "seconds/rollout", "cut/share"]
    series = {name: one for name in names} | {"entropy": [(1, math.nan)]}
    panels = panels_of(series)
    assert {name for chosen in panels.values() for name in chosen} == set(names) - {"seconds/rollout"}
    assert set(panels["held out: accuracy"]) == {"eval/think"}
    assert set(panels) <= set(PANELS)


@pytest.mark.parametrize("steps", [1, 30, 2000])
def test_plots_of_any_length_with_gaps(tmp_path: Path, steps: int) -> None:
    with (tmp_path / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            entropy = None if step % 7 == 0 else 1 / step
            file.write(json.dumps({"step": step, "tokens": 1, "loss": 1 / step, "entropy": entropy}) + "\n")
    path = plot_metrics(tmp_path)
    assert path is not None
    pixels = imread(path)[..., :3]
    blue = (abs(pixels - [0.122, 0.467, 0.706]).max(axis=2) < 0.02).sum()
    assert blue > (10 if steps == 1 else 300), "the curves' colour is in the picture"


def test_nothing_to_draw_is_no_picture(tmp_path: Path) -> None:
    assert plot_metrics(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_series_and_their_running_mean(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(
        '{"step": 2, "tokens": 0, "a": 1}\n{"step": 3, "tokens": 0, "a": null}\n'
    )
    ((step, value), (last, gap)) = read_series(tmp_path / "m.jsonl")["a"]
    assert (step, value, last) == (2, 1.0, 3)
    assert math.isnan(gap)
    assert running_mean([1.0, math.nan, 3.0, 5.0], 2) == [1.0, 1.0, 3.0, 4.0]
    assert math.isnan(running_mean([math.nan], 3)[0])


def rollout(tokenizer: AutoTokenizer, parts: Sequence[tuple[str, bool]]) -> Rollout:
    ids: list[int] = []
    inserted: list[bool] = []
    for text, is_inserted in parts:
        part = tokenizer.encode(text)
        ids += part
        inserted += [is_inserted] * len(part)
    prompt = tokenizer.encode("<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n")
    return Rollout(
        request=RolloutRequest(tuple(prompt), max_tokens=50, seed=0, budget=3),
        token_ids=tuple(ids),
        logprobs=(0.0,) * len(ids),
        inserted=tuple(inserted),
        versions=(0,) * len(ids),
        thinking_tokens=3,
        stop_cause="budget",
        finish_reason="stop",
    )


def test_traces_mark_inserted_text_and_lose_none(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    parts = [
        ("<think>\nstep", False),
        ("Considering</think>\n\n", True),
        ("The answer is \\boxed{2}.<|im_end|>", False),
    ]
    record = trace_of(rollout(tokenizer, parts), tokenizer, reward=1.0)
    assert [(part["text"], part["inserted"]) for part in record["reply"]] == parts
    text = render_trace({"step": 7, **record})
    assert text == (
        "--- step 7, budget 3, thinking tokens 3, stop cause budget, finish reason stop, reward 1.0\n"
        "<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n>>>\n"
        "<think>\nstep⟦Considering</think>\n\n⟧The answer is \\boxed{2}.<|im_end|>\n"
    )


def test_as_many_traces_as_the_recipe_says(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    with Progress(context, total_steps=1) as progress:
        progress.traces(1, [{"prompt": str(number), "reply": []} for number in range(5)])
    assert [trace["prompt"] for trace in read_records(context.folder / "traces.jsonl")] == ["0", "1"]


def test_the_traces_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    from trainer.commands import traces

    parser = argparse.ArgumentParser()
    traces.add_parser(parser.add_subparsers())
    context = context_in(tmp_path)
    with Progress(context, total_steps=3) as progress:
        for step in (1, 2, 3):
            reply = [{"text": "a", "inserted": False}, {"text": "b", "inserted": True}]
            progress.traces(step, [{"prompt": "question", "reply": reply}])

    def printed(*argv: str) -> str:
        options = parser.parse_args(["traces", *argv])
        status = options.run(options)
        captured = capsys.readouterr()
        return captured.out if status == 0 else f"{status} {captured.err}"

    folder = str(context.folder)
    assert printed(folder).count("question\n>>>\na⟦b⟧") == 3
    assert re.findall(r"step \d", printed(folder, "--from-step", "2")) == ["step 2", "step 3"]
    assert re.findall(r"step \d", printed(folder, "--last", "1")) == ["step 3"]
    assert printed(str(tmp_path)).startswith("2 thinkdial train: DIR: ")
    assert printed(folder, "--last", "0").startswith("2 thinkdial train: --last: 0")
