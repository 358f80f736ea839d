"""The summary of a made run, against numbers worked out by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import SAMPLED, direct, fork, no_think, trace, write

from evals.account import Prices, Session
from evals.stats import wilson_interval
from evals.store import SAMPLES
from evals.summary.summarise import SUMMARY, summarise, write_summary


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four problems: `a` ends within 8 tokens, `b` and `c` are cut there, `d` never ends its thinking."""
    a, b, c = trace("a", 8), trace("b", 10), trace("c", 40, answer="6", level=2)
    d = trace("d", 100, cause="length", level=2, subject="loops", chance=0.5)
    d = replace(d, answer="", finish_reason="length", answer_tokens=0)
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
    assert (off["n"], off["accuracy"], off["cut"]["share"], off["cut"]["accuracy"]) == (4, 0.5, 0, None)
    assert (eight["n"], eight["questions"], eight["samples"], eight["accuracy"]) == (4, 4, 1, 0.75)
    assert (eight["low"], eight["high"]) == pytest.approx(wilson_interval(3, 4))
    assert (eight["these_low"], eight["these_high"]) == (None, None)
    assert eight["band_low"] <= eight["low"]
    assert eight["high"] <= eight["band_high"]
    assert eight["chance"] == pytest.approx(0.8 / 4)
    assert eight["mean_thinking_tokens"] == 8
    # The natural reply of 8 + 7 tokens, and three of an open tag, 8 thinking and 5 answer tokens.
    assert eight["mean_generated_tokens"] == (15 + 3 * 14) / 4
    assert eight["mean_answer_tokens"] == 5
    assert (most["accuracy"], most["cut"]["share"]) == (0.5, 0)
    assert most["mean_thinking_tokens"] == (8 + 10 + 40 + 100) / 4
    assert all(point["missing"] == 0 for point in (off, eight, most))


def test_shares_say_how_thinking_ended(run: Path) -> None:
    off, eight, most = (point["shares"] for point in summarise(run)["points"])
    none = dict.fromkeys(("natural", "forced", "censored", "escaped", "off", "unknown"), 0)
    assert off == none | {"off": 1}
    assert eight == none | {"natural": 0.25, "forced": 0.75}
    assert most == none | {"natural": 0.75, "censored": 0.25}
    points = summarise(run)["points"]
    assert points[1]["stop_causes"] == {"budget": 3, "natural": 1}
    assert points[2]["stop_causes"] == {"length": 1, "natural": 3}
    assert points[2]["verdicts"] == {"censored": 1, "different": 1, "equal": 2}
    assert (points[1]["ended_share"], points[1]["ended_answered_share"]) == (1, 1)
    assert (points[2]["ended_share"], points[2]["ended_answered_share"]) == (0.75, 0.75)


def test_cut_replies_stand_beside_no_thinking_on_the_same_problems(run: Path) -> None:
    cut = summarise(run)["points"][1]["cut"]
    assert (cut["n"], cut["share"], cut["accuracy"]) == (3, 0.75, 2 / 3)
    assert (cut["low"], cut["high"]) == pytest.approx(wilson_interval(2, 3))
    # b, c and d: wrong, right and wrong without thinking.
    assert cut["no_think_accuracy"] == pytest.approx(1 / 3)
    assert cut["gain"]["mean"] == pytest.approx(1 / 3)
    assert cut["gain"]["n"] == 3
    assert cut["chance"] == pytest.approx(0.7 / 3)


def test_control_is_asked_against_used(run: Path) -> None:
    off, eight, most = (point["control"] for point in summarise(run)["points"])
    assert (off, most) == (None, None)
    assert (eight["asked"], eight["mean_used"], eight["max_used"], eight["over_share"]) == (8, 8, 8, 0)
    over = write(
        run.parent / "over",
        [direct(name, 10, thinking_tokens=used) for name, used in (("a", 5), ("b", 10), ("c", 15))],
        {"mode": "direct"},
        budgets=(10,),
    )
    (point,) = summarise(over)["points"]
    assert point["control"] == {
        "asked": 10,
        "mean_used": 10,
        "max_used": 15,
        "over_share": pytest.approx(1 / 3),
        "mean_error": 0,
        "mean_relative_error": pytest.approx(1 / 3),
    }


def test_differences_are_paired(run: Path) -> None:
    first, second = summarise(run)["differences"]
    assert (first["from"], first["to"], first["n"], first["mean"]) == (0, 8, 4, 0.25)
    assert (second["from"], second["to"], second["mean"]) == (8, "max", -0.25)
    # Signs of two or more changes (+1, -1, +1 and -1): all patterns are as extreme.
    assert first["p"] == 1.0
    assert first["p_holm"] >= first["p"]


def test_curve(run: Path) -> None:
    curve = summarise(run)["curve"]
    # Only budgets 0 and 8 are on the token axis: the mean of 0.5 and 0.75.
    assert curve["area"]["mean"] == pytest.approx(0.625)
    assert curve["area"]["grid"] == [0, 8]
    assert curve["peak"] == {"budget": 8, "accuracy": 0.75}
    assert [row["budget"] for row in curve["reach"]] == [8, 8, 8]
    # c: right, wrong, wrong; d: wrong, right, wrong. Two of four samples are right, and wrong later.
    assert curve["flip_rate"] == 0.5
    assert curve["overthinking"]["low"] >= 0


def test_breakdowns(run: Path) -> None:
    summary = summarise(run)
    level = {(row["group"], row["budget"]): row for row in summary["by_level"]}
    assert (level[1, 8]["n"], level[1, 8]["accuracy"], level[1, 8]["cut_n"]) == (2, 1, 1)
    assert (level[2, 8]["accuracy"], level[2, 8]["cut_n"], level[2, 8]["chance"]) == (0.5, 2, 0.3)
    subject = {(row["group"], row["budget"]): row for row in summary["by_subject"]}
    assert (subject["loops", 8]["accuracy"], subject["loops", "max"]["accuracy"]) == (1, 0)
    assert summary["by_set"] == []
    # d never ended: how much of its thinking was done is not known.
    shares = {(row["subject"], row["thinking_done"]): row for row in summary["cut_by_subject_and_share"]}
    assert set(shares) == {(s, q) for s in ("sums", None) for q in ("0-25 %", "75-100 %")}
    assert (shares["sums", "0-25 %"]["n"], shares["sums", "0-25 %"]["accuracy"]) == (1, 0)
    assert (shares["sums", "75-100 %"]["accuracy"], shares["sums", "75-100 %"]["chance"]) == (1, 0.1)


def test_totals(run: Path) -> None:
    session = Session(run, Prices(input=0.0, output=10.0))
    session.note(11, 221, 0)
    session.write()
    totals = summarise(run)["totals"]
    assert totals["replies"] == {"fork": 3, "no_think": 4, "trace": 4}
    assert totals["generated_tokens"] == {"fork": 15, "no_think": 20, "trace": 8 + 10 + 40 + 100 + 28}
    assert totals["all_generated_tokens"] == 221
    # The thinking of a fork is its trace's, and counted once.
    assert totals["thinking_tokens"] == 8 + 10 + 40 + 100
    assert (totals["attempts"], totals["seconds"]) == (11, 5.5)
    assert totals["cost"]["total"] == pytest.approx(221 * 10 / 1e6)


def test_missing_replies_are_told(run: Path) -> None:
    lines = (run / SAMPLES).read_text().splitlines(keepends=True)
    (run / SAMPLES).write_text("".join(line for line in lines if '"b/0/fork/8"' not in line))
    summary = write_summary(run)
    assert [point["missing"] for point in summary["points"]] == [0, 1, 0]
    assert summary["failed"]["incomplete_problems"] == ["b"]
    (run / SAMPLES).unlink()
    empty = write_summary(run)
    assert [(p["n"], p["accuracy"], p["missing"]) for p in empty["points"]] == [(0, None, 4)] * 3
    assert empty["curve"]["area"] is None
    json.loads((run / SUMMARY).read_text())


def test_samples_of_a_question_are_a_cluster(tmp_path: Path) -> None:
    records = []
    for sample in range(4):
        for problem, answer in (("a", "7"), ("b", "6"), ("c", "7"), ("d", "6")):
            records.append(trace(problem, 5, answer=answer, sample=sample))
    (point,) = summarise(write(tmp_path, records, SAMPLED, budgets=("max",), samples=4))["points"]
    assert (point["n"], point["accuracy"], point["missing"]) == (16, 0.5, 0)
    assert point["high"] - point["low"] > wilson_interval(2, 4)[1] - wilson_interval(2, 4)[0] - 1e-9
    # On these questions every sample says the same: decoding alone leaves less doubt.
    assert point["these_high"] - point["these_low"] < point["high"] - point["low"]
