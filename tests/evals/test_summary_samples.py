"""Several samples of a problem: pass@k, votes, entropy, calibration, against numbers worked out by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_runs import SAMPLED, confidence, fork, no_think, simulated, trace, with_tokens, write

from evals.records import Record
from evals.store import SAMPLES
from evals.summary.summarise import summarise

ONE_POINT = {"settings": SAMPLED, "budgets": ("max",), "samples": 4}


def samples(problem: str, *answers: str, gold: str = "7") -> list[Record]:
    return [trace(problem, 5, answer=answer, sample=i, gold=gold) for i, answer in enumerate(answers)]


def point(directory: Path, records: list[Record], **options: Any) -> dict[str, Any]:
    (found,) = summarise(write(directory, records, **(ONE_POINT | options)))["points"]
    return dict(found)


def test_pass_and_votes_by_equivalence(tmp_path: Path) -> None:
    # a: two of four right in two spellings, and two wrong answers that differ. b: three wrong answers that
    # are equal to each other, one right.
    records = samples("a", "0.5", r"\frac{1}{2}", "3", "4", gold="1/2")
    records += samples("b", "10", "10.0", "7", "10")
    found = point(tmp_path, records)
    assert found["pass_at_k"]["1"] == pytest.approx((2 / 4 + 1 / 4) / 2)
    # 1 - C(2,2)/C(4,2) and 1 - C(3,2)/C(4,2).
    assert found["pass_at_k"]["2"] == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert found["pass_at_k"]["4"] == 1
    # The vote of all four: 2 of a against one and one; 3 against one of b.
    assert found["maj_at_k"]["4"] == pytest.approx(0.5)
    assert found["maj_at_k"]["1"] == found["pass_at_k"]["1"]
    # Pairs of a: {R,R} wins, {R,W} ties four times of six, {W,W} loses: 1/6 + 4/6/2. Of b: 3 of 6 tie.
    assert found["maj_at_k"]["2"] == pytest.approx((1 / 6 + 2 / 6 + 1 / 4) / 2)
    assert found["g_pass_at_k"]["k"] == 2
    assert found["g_pass_at_k"]["1.0"] == pytest.approx((1 / 6 + 0) / 2)
    of_a = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    of_b = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["entropy"]["answer"] == pytest.approx((of_a + of_b) / 2)
    assert found["entropy"]["token"] is None
    assert found["calibration"].keys() == {"vote_share"}
    shares = {(row["low"], row["n"]): row for row in found["calibration"]["vote_share"]["bins"]}
    # 0.5 twice right; 0.25 thrice, right once (b's 7); 0.75 thrice, wrong. A bin holds its upper edge.
    assert {key: row["accuracy"] for key, row in shares.items()} == {
        (0.2, 3): pytest.approx(1 / 3),
        (0.4, 2): 1,
        (0.7, 3): 0,
    }


def test_a_reply_without_answer_has_no_vote_and_no_confidence(tmp_path: Path) -> None:
    records = [replace(r, answer="I give up.\nIt is too hard to say.") for r in samples("a", "7", "7")]
    records += [replace(r, sample=r.sample + 2, key=r.key + "!") for r in samples("a", "7", "7")]
    found = point(tmp_path, records)
    assert (found["accuracy"], found["maj_at_k"]["4"]) == (0.5, 1)
    assert found["verdicts"]["equal"] == 2
    # Both votes are for the right answer; they are half of the samples.
    (bin,) = found["calibration"]["vote_share"]["bins"]
    assert (bin["n"], bin["confidence"], bin["accuracy"]) == (2, 0.5, 1)
    assert found["verdicts"] == {"equal": 2, "no answer": 2}


def test_answer_probability_is_of_the_answers_tokens(tmp_path: Path) -> None:
    half, tenth = math.log(0.5), math.log(0.1)
    answer = [
        ("It is ", -9.0),
        (r"\boxed", -9.0),
        ("{", -9.0),
        ("4", half),
        ("2", tenth),
        ("}", -9.0),
        (".", -9.0),
    ]
    right = with_tokens(trace("a", 3, gold="42"), [0.2, 0.4, 0.6], answer)
    wrong = with_tokens(trace("b", 3, gold="41"), [0.2, 0.4, 0.6], answer)
    cut = with_tokens(fork(right, 2), None, answer)
    off = with_tokens(no_think("a", gold="42"), None, answer)
    run = write(tmp_path, [right, wrong, cut, fork(wrong, 2), off], budgets=(0, 2, "max"))
    found = {p["budget"]: p["calibration"]["answer_probability"] for p in summarise(run)["points"]}
    expected = math.sqrt(0.5 * 0.1)
    for budget, n in ((0, 1), (2, 1), ("max", 2)):
        assert found[budget]["n"] == n
        (bin,) = found[budget]["bins"]
        assert bin["confidence"] == pytest.approx(expected)
    assert found["max"]["brier"] == pytest.approx(((1 - expected) ** 2 + expected**2) / 2)
    assert found["max"]["ece"] == pytest.approx(0.5 - expected)
    assert found["max"]["auroc"] == 0.5
    assert found[0]["auroc"] is None


def test_token_entropy_is_of_the_thinking_that_a_budget_keeps(tmp_path: Path) -> None:
    entropies = [1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    one = with_tokens(trace("a", 10), entropies, [(r"\boxed{7}", -0.1), ("<|im_end|>", -0.1)])
    run = write(tmp_path, [one, fork(one, 2), fork(one, 5)], budgets=(2, 5, "max"))
    summary = summarise(run)
    two, five, most = (p["entropy"] for p in summary["points"])
    assert [p["token"] for p in (two, five, most)] == pytest.approx([1 / 2, 3 / 5, 3 / 10])
    assert two["rest"] == pytest.approx(0.01)
    # The fifth of the ten tokens with the highest entropy: the first and the fifth.
    assert [p["forking_share"] for p in (two, five, most)] == pytest.approx([1 / 2, 2 / 5, 2 / 10])
    assert [row["token"] for row in summary["entropy_along"]] == pytest.approx(entropies)
    assert two["answer"] is None


def test_stated_confidence_belongs_to_the_reply_it_is_of(tmp_path: Path) -> None:
    a, b = trace("a", 9), trace("b", 9, answer="1")
    cut = fork(a, 4, answer="3")
    records = [a, b, cut, confidence(a, "90%"), confidence(b, "I am sure: 60"), confidence(cut, "0.3")]
    four, most = summarise(write(tmp_path, records, budgets=(4, "max")))["points"]
    stated = most["calibration"]["stated_confidence"]
    assert stated["brier"] == pytest.approx((0.1**2 + 0.6**2) / 2)
    assert stated["auroc"] == 1
    assert four["calibration"]["stated_confidence"]["bins"][0]["confidence"] == pytest.approx(0.3)
    assert (most["n"], four["n"]) == (2, 1)


@pytest.mark.parametrize("options", [{}, {"sampled": False, "samples": 1}, {"budgets": ("low", "high")}])
def test_order_of_the_records_changes_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    asked = {"problems": 8, "samples": 3, "crosscheck": 0.3} | options
    first = simulated(tmp_path / "first", **asked)
    second = simulated(tmp_path / "second", **asked)
    lines = (second / SAMPLES).read_text().splitlines(keepends=True)
    (second / SAMPLES).write_text("".join(lines[::-1]))
    assert summarise(first) == summarise(second)


def test_grades_are_kept_and_change_nothing(tmp_path: Path) -> None:
    run = simulated(tmp_path, problems=5, samples=2)
    before = summarise(run)
    stored = (run / "grades.jsonl").read_bytes()
    assert summarise(run) == before
    assert (run / "grades.jsonl").read_bytes() == stored
    # A kept grade is believed, whatever it says: it was not graded again.
    (run / "grades.jsonl").write_bytes(stored.replace(b'"verdict":"equal"', b'"verdict":"different"'))
    assert all(p["accuracy"] == 0 for p in summarise(run)["points"])
    (run / "grades.jsonl").write_text("[]\n")
    with pytest.raises(ValueError, match=r"grades\.jsonl: not a file of grades"):
        summarise(run)
