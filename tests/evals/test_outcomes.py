"""Outcomes of replies at budgets: which reply counts where, what is forced, escaped or censored."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import SAMPLED, STOP_IDS, confidence, direct, fork, no_think, trace, with_tokens, write

from evals.bridges.replies import replies_at
from evals.records import Record
from evals.summary.outcomes import crosscheck_pairs, escape_length, outcomes
from evals.summary.replies import read_run, stated_confidence
from evals.summary.scores import Scores
from evals.summary.summarise import summarise


def test_each_budget_has_the_reply_that_counts_there(tmp_path: Path) -> None:
    short, long = trace("a", 8), trace("b", 20)
    records = [no_think("a"), short, long, fork(long, 8, answer="1"), confidence(long, "80%")]
    found = {(o.problem, o.budget): o for o in outcomes(read_run(write(tmp_path, records)))}
    # b has no reply without thinking; a trace of exactly the budget is not cut.
    assert set(found) == {("a", 0), ("a", 8), ("a", "max"), ("b", 8), ("b", "max")}
    assert found["a", 8].key == found["a", "max"].key == short.key
    assert (found["a", 8].forced, found["a", 8].reply_tokens) == (False, short.generated_tokens)
    assert (found["b", 8].forced, found["b", 8].correct) == (True, False)
    # An open tag, 8 tokens of thinking, and an answer of 5: what a server with this budget decodes.
    assert found["b", 8].reply_tokens == 1 + 8 + 5
    assert found["b", 8].natural_tokens == 20
    assert found["b", "max"].stated_confidence == 0.8
    assert found["b", 8].stated_confidence is None


def test_direct_replies_are_outcomes_of_a_direct_run_only(tmp_path: Path) -> None:
    records = [trace("a", 8), direct("a", 8, answer="1", stop_cause="natural", thinking_tokens=8)]
    forked = read_run(write(tmp_path / "forked", records, budgets=(8,)))
    (outcome,) = outcomes(forked)
    assert outcome.correct
    ((first, second),) = crosscheck_pairs(forked, [outcome])
    assert (first.correct, second.correct) == (True, False)
    plain = read_run(write(tmp_path / "direct", records[1:], {"mode": "direct"}, budgets=(8,)))
    (outcome,) = outcomes(plain)
    assert not outcome.correct
    assert crosscheck_pairs(plain, [outcome]) == []


@pytest.mark.parametrize(
    ("answer", "tokens", "escaped"),
    [
        (r"\boxed{7}", 6, False),
        (r"Wait. <think> no </think> \boxed{7}", 12, True),
        (r"so it is </think> \boxed{7}", 9, True),
        (r"Let me go on. \boxed{7}", 15, False),
        (r"Let me go on. \boxed{7}", 16, True),
    ],
)
def test_escaped(tmp_path: Path, answer: str, tokens: int, escaped: bool) -> None:
    """Natural answers are of 5 tokens here: beyond 15, a forced one goes on reasoning."""
    natural = [trace(f"n{i}", 3) for i in range(25)]
    long = trace("a", 20)
    cut = replace(fork(long, 8), answer=answer, answer_tokens=tokens)
    chatty = replace(trace("b", 3), answer_tokens=100)
    run = read_run(write(tmp_path, [*natural, long, cut, chatty], budgets=(8, "max")))
    found = {(o.problem, o.budget): o for o in outcomes(run)}
    assert found["a", 8].escaped is escaped
    assert not found["b", 8].escaped
    assert not found["a", "max"].escaped


def test_escape_by_length_needs_natural_answers(tmp_path: Path) -> None:
    records = [trace(f"n{i}", 3) for i in range(19)]
    assert escape_length(read_run(write(tmp_path / "few", records)).replies) is None
    records.append(trace("n19", 3))
    assert escape_length(read_run(write(tmp_path / "enough", records)).replies) == 15


def test_censored_replies_have_no_answer(tmp_path: Path) -> None:
    told = replace(trace("a", 9, cause="length"), finish_reason="length")
    silent = direct("b", "max", answer="", finish_reason="length")
    silent = replace(silent, answer="  ")
    truncated = replace(trace("c", 9), answer=r"so \boxed{7", finish_reason="length")
    opened = replace(trace("d", 9), answer=r"\boxed{7} <think> but")
    records = [told, truncated, opened]
    found = {o.problem: o for o in outcomes(read_run(write(tmp_path / "forked", records, budgets=("max",))))}
    assert [found[p].verdict.value for p in "acd"] == ["censored", "no answer", "censored"]
    assert not any(o.correct or o.answer for o in found.values())
    shares = summarise(tmp_path / "forked")["points"][-1]["shares"]
    assert (shares.pop("escaped"), sum(shares.values())) == (0, 1)
    assert (shares["censored"], shares["natural"]) == (1 / 3, 2 / 3)
    run = write(tmp_path / "direct", [silent], {"mode": "direct"}, budgets=("max",))
    shares = summarise(run)["points"][0]["shares"]
    assert (shares["censored"], shares["unknown"]) == (1, 0)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("80%", 0.8),
        ("80 %", 0.8),
        ("80", 0.8),
        ("0.8", 0.8),
        (".8", 0.8),
        ("1", 0.01),
        ("1.0", 1.0),
        ("100", 1.0),
        ("0", 0.0),
        ("0.5%", 0.005),
        (r"I am 95\% sure", 0.95),
        ("between 60 and 70 percent", 0.7),
        ("**75**", 0.75),
        ("Confidence: 85", 0.85),
        ("I have a confidence of about 0.9.", 0.9),
        ("I checked 3 cases. 90/100", 0.9),
        ("101", None),
        (r"The answer is \boxed{3}.", None),
        ("It is 42.", None),
        ("no idea", None),
        ("", None),
        ("9" * 100_000, None),
    ],
)
def test_stated_confidence(text: str, share: float | None) -> None:
    assert stated_confidence(text) == (share if share is None else pytest.approx(share))


@given(st.text(alphabet="0123456789.% \\aé", max_size=40))
def test_stated_confidence_is_a_share_or_none(text: str) -> None:
    value = stated_confidence(text)
    assert value is None or 0 <= value <= 1


def crosschecked(directory: Path, wrong: int = 0, changed: int = 0, **options: object) -> Path:
    """30 problems cut at 4 and drawn directly too; of those some are `wrong`, some have `changed` tokens."""
    records: list[Record] = []
    for number in range(30):
        answer = [(r"\boxed{7}", -0.1), ("<|im_end|>", -0.1)]
        of = with_tokens(trace(f"p{number:02}", 9), [0.1] * 9, answer)
        cut = with_tokens(fork(of, 4), None, answer)
        assert of.token_ids is not None
        assert cut.token_ids is not None
        ids = [*of.token_ids[:5], *STOP_IDS, *cut.token_ids]
        both = direct(of.problem, 4, answer="1" if number < wrong else "7", stop_cause="budget")
        records += [of, cut, replace(both, token_ids=[*ids[:-1], 9] if number < changed else ids)]
    return write(directory, records, budgets=(4, "max"), **options)


def test_greedy_crosscheck_counts_identical_replies(tmp_path: Path) -> None:
    found = summarise(crosschecked(tmp_path / "same"))["crosscheck"]
    assert (found["n"], found["identical"], found["alike"], found["agree"]) == (30, 30, 30, True)
    assert found["share"] == 0.5
    assert found["points"][0]["difference"]["mean"] == 0
    assert "30 of 30 direct replies are the forked ones token by token" in found["verdict"]
    changed = summarise(crosschecked(tmp_path / "changed", changed=2))["crosscheck"]
    assert (changed["identical"], changed["alike"], changed["agree"]) == (28, 30, True)


def test_crosscheck_finds_a_difference(tmp_path: Path) -> None:
    found = summarise(crosschecked(tmp_path, wrong=10, changed=10, settings=SAMPLED))["crosscheck"]
    (point,) = found["points"]
    assert (point["budget"], point["forked"], point["direct"]) == (4, 1, pytest.approx(20 / 30))
    assert point["difference"]["mean"] == pytest.approx(-1 / 3)
    assert (found["agree"], point["p_holm"] < 0.05) == (False, True)
    assert "differ at budget 4" in found["verdict"]


def test_another_harness_may_say_what_is_right(tmp_path: Path) -> None:
    """The same answer scored right once and wrong once: two groups, as the votes of that harness."""
    records = [trace("a", 5, sample=i) for i in range(3)] + [
        trace("b", 5, answer="1", sample=i) for i in range(2)
    ]
    run = write(tmp_path, records, SAMPLED, budgets=("max",), samples=3)
    Scores("harness", {}, {records[0].key: 1.0, records[1].key: 0.0, records[3].key: 0.5}).write(run)
    found = {(o.problem, o.sample): o for o in outcomes(read_run(run, "upstream"))}
    assert {place: o.correct for place, o in found.items()} == {
        ("a", 0): True,
        ("a", 1): False,
        ("b", 0): False,
    }
    assert (found["a", 0].group, found["a", 1].group) == (0, 1)
    assert all(o.correct == (o.problem == "a") for o in outcomes(read_run(run)))


def test_a_harness_that_reads_answers_out_of_open_thinking_is_taken_at_its_word(tmp_path: Path) -> None:
    records = [replace(trace(p, 5, cause="length"), answer="") for p in ("a", "b")]
    run = write(tmp_path, records, budgets=("max",))
    Scores("harness", {}, {records[0].key: 1.0, records[1].key: 0.0}).write(run)
    (point,) = summarise(run, "upstream")["points"]
    assert (point["accuracy"], point["verdicts"]) == (0.5, {"censored": 1, "equal": 1})
    assert summarise(run)["points"][0]["accuracy"] == 0


def test_replies_for_other_harnesses_are_those_of_the_outcomes() -> None:
    """Direct replies check the points of a forked run, and do not stand in for forks that were refused."""
    refused, cut, short = trace("a", 9), trace("b", 9), trace("c", 3)
    checks = [direct(problem, 4) for problem in "abc"]
    first = fork(cut, 4)
    for records in ([refused, cut, short, first, *checks], [*checks, first, short, cut, refused]):
        assert replies_at(records, 4) == {("b", 0): first, ("c", 0): short}
    assert replies_at([no_think("a"), direct("a", 0)], 0) == {("a", 0): no_think("a")}
    assert replies_at(checks, 4) == {(check.problem, 0): check for check in checks}
