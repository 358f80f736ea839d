"""The summary of a made run, against numbers worked out by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import fork, no_think, trace, write

from evals.stats import wilson_interval
from evals.store import SAMPLES
from evals.summary import summarise, write_summary


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four problems: `a` ends within 8 tokens, `b` and `c` are cut there, `d` never ends its thinking."""
    a, b, c = trace("a", 8), trace("b", 10), trace("c", 40, answer="6", level=2)
    d = trace("d", 100, cause="length", level=2, subject="loops", chance=0.5)
    d = replace(d, answer="", finish_reason="length")
    records = [
        *(a, b, c, d),
        fork(b, 8),
        fork(c, 8, answer="5"),
        fork(d, 8),
        no_think("a"),
        no_think("b", answer="1"),
        no_think("c", level=2),
        no_think("d", answer="1", level=2, subject="loops", chance=0.5),
    ]
    return write(tmp_path, records)


def test_points(run: Path) -> None:
    off, eight, most = summarise(run)["points"]
    assert [p["budget"] for p in (off, eight, most)] == [0, 8, "max"]
    assert (off["n"], off["accuracy"], off["cut_share"], off["cut_accuracy"]) == (4, 0.5, 0, None)
    assert (eight["n"], eight["accuracy"]) == (4, 0.75)
    assert (eight["low"], eight["high"]) == wilson_interval(3, 4)
    assert (eight["cut_n"], eight["cut_share"], eight["cut_accuracy"]) == (3, 0.75, 2 / 3)
    assert (eight["cut_low"], eight["cut_high"]) == wilson_interval(2, 3)
    assert eight["no_think_accuracy_on_cut"] == 1 / 3
    assert eight["cut_minus_no_think"]["mean"] == pytest.approx(1 / 3)
    assert eight["cut_chance"] == pytest.approx(0.7 / 3)
    assert eight["mean_thinking_tokens"] == 8
    # The natural reply of 8 + 7 tokens, and three of an open tag, 8 thinking and 5 answer tokens.
    assert eight["mean_generated_tokens"] == (15 + 3 * 14) / 4
    assert (eight["censored_share"], eight["boxed_share"], eight["ended_boxed_share"]) == (0, 1, 1)
    assert (most["accuracy"], most["cut_share"], most["censored_share"]) == (0.5, 0, 0.25)
    assert (most["boxed_share"], most["ended_by_itself_share"]) == (0.75, 0.75)
    assert most["mean_thinking_tokens"] == (8 + 10 + 40 + 100) / 4
    assert all(point["missing"] == 0 for point in (off, eight, most))


def test_differences_are_paired(run: Path) -> None:
    first, second = summarise(run)["differences"]
    assert (first["from"], first["to"], first["n"], first["mean"]) == (0, 8, 4, 0.25)
    assert (second["from"], second["to"], second["mean"]) == (8, "max", -0.25)


def test_breakdowns(run: Path) -> None:
    summary = summarise(run)
    level = {(row["level"], row["budget"]): row for row in summary["by_level"]}
    assert (level[1, 8]["n"], level[1, 8]["accuracy"], level[1, 8]["cut_n"]) == (2, 1, 1)
    assert (level[2, 8]["accuracy"], level[2, 8]["cut_n"], level[2, 8]["chance"]) == (0.5, 2, 0.3)
    subject = {(row["subject"], row["budget"]): row for row in summary["by_subject"]}
    assert (subject["loops", 8]["accuracy"], subject["loops", "max"]["accuracy"]) == (1, 0)
    # d never ended: how much of its thinking was done is not known.
    shares = {(row["subject"], row["thinking_done"]): row for row in summary["cut_by_subject_and_share"]}
    assert set(shares) == {(s, q) for s in ("sums", None) for q in ("0-25 %", "75-100 %")}
    assert (shares["sums", "0-25 %"]["n"], shares["sums", "0-25 %"]["accuracy"]) == (1, 0)
    assert (shares["sums", "75-100 %"]["accuracy"], shares["sums", "75-100 %"]["chance"]) == (1, 0.1)


def test_totals(run: Path) -> None:
    totals = summarise(run)["totals"]
    assert totals["replies"] == {"fork": 3, "no_think": 4, "trace": 4}
    assert totals["generated_tokens"] == {"fork": 15, "no_think": 20, "trace": 8 + 10 + 40 + 100 + 28}
    assert totals["all_generated_tokens"] == 221


def test_missing_replies_are_told(run: Path) -> None:
    lines = (run / SAMPLES).read_text().splitlines(keepends=True)
    (run / SAMPLES).write_text("".join(line for line in lines if '"b/fork/8"' not in line))
    summary = write_summary(run)
    assert [point["missing"] for point in summary["points"]] == [0, 1, 0]
    assert summary["failed"]["incomplete_problems"] == ["b"]
    (run / SAMPLES).unlink()
    empty = write_summary(run)
    assert [(p["n"], p["accuracy"], p["missing"]) for p in empty["points"]] == [(0, None, 4)] * 3


def test_samples_of_a_question_are_a_cluster(tmp_path: Path) -> None:
    records = []
    for sample in range(4):
        for problem, answer in (("a", "7"), ("b", "6"), ("c", "7"), ("d", "6")):
            record = trace(problem, 5, answer=answer)
            records.append(replace(record, sample=sample, key=f"{problem}{sample}"))
    (point,) = summarise(write(tmp_path, records, budgets=("max",), samples=4))["points"]
    assert (point["n"], point["accuracy"], point["missing"]) == (16, 0.5, 0)
    assert point["high"] - point["low"] > wilson_interval(2, 4)[1] - wilson_interval(2, 4)[0] - 1e-9
