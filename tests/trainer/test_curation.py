"""Filters of curation: what each must drop, with what it says of it, and what it must keep."""

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.contamination import words_of
from evals.problems import DATA_VARIABLE, Problem
from evals.problems.jsonl import read_jsonl
from trainer.curation.balance import TopicBalance
from trainer.curation.candidates import Candidate, Outcome
from trainer.curation.curriculum import Curriculum
from trainer.curation.decontaminate import Decontaminate
from trainer.curation.duplicates import NearDuplicates
from trainer.curation.forms import ExcludeForms
from trainer.curation.lucky import LuckyGuesses, reaches
from trainer.curation.verifiable import Verifiable
from trainer.examples import Example
from trainer.sources.thinkmath import Thinkmath

REAL = Path(os.environ.get(DATA_VARIABLE, Path(__file__).parents[3] / "shared" / "data"))
HELD = (
    "A farmer keeps 12 geese and 30 hens in the yard; how many legs do they have between them at noon today?"
)


def candidate(
    text: str, answer: str = "1", number: int = 0, thinking: str | None = None, **members: Any
) -> Candidate:
    notes = members.pop("notes", {})
    response = None if thinking is None else f"\\boxed{{{answer}}}"
    problem = Problem(id=f"own/{number}", problem=text, answer=answer, set="own", **members)
    return Candidate(Example(problem, thinking, response), notes)


def reasons(outcome: Outcome) -> list[str]:
    return [dropped.reason for dropped in outcome.dropped]


@pytest.fixture
def held_set(tmp_path: Path) -> str:
    path = tmp_path / "held.jsonl"
    path.write_text(f'{{"id": "1", "problem": "{HELD}", "answer": "84"}}\n', encoding="utf-8")
    return str(path)


def test_what_stands_in_an_evaluation_set_is_dropped_wherever_it_stands(held_set: str) -> None:
    shouted = HELD.upper().replace(" ", "  ")
    leaked = candidate("Add 1 and 1.", number=2, thinking=f"I know a problem: {HELD} Well.")
    candidates = [
        candidate(f"Read this. {shouted} Then answer."),
        candidate(HELD.replace("12", "14"), number=1),
        leaked,
        candidate("A farmer keeps 12 geese and 9 ducks; how many wings are that?", number=3),
        candidate("How many legs have twelve geese with thirty hens?", number=4),  # a paraphrase is not seen
    ]
    outcome = Decontaminate([held_set])(candidates)
    assert [kept.example.problem.id for kept in outcome.kept] == ["own/3", "own/4"]
    assert reasons(outcome) == ["stands in held"] * 3
    assert [dropped.evidence["in"] for dropped in outcome.dropped] == ["problem", "problem", "thinking"]
    assert outcome.dropped[0].evidence["share"] == 1
    assert 0.5 <= outcome.dropped[1].evidence["share"] < 1
    assert outcome.dropped[0].evidence["of"] == "held/1"


def test_thinkmath_is_no_set_to_compare_n_grams_with() -> None:
    with pytest.raises(ValueError, match="thinkmath's sentences are all made from a few patterns"):
        Decontaminate(["thinkmath"])


def test_near_duplicates_of_the_first_are_dropped() -> None:
    text = (
        "Let a and b be real numbers such that the sum of a and b is seven and their product ten. Find a - b."
    )
    candidates = [
        candidate(text),
        candidate(text.upper() + "!", number=1),
        candidate(text.replace("seven", "eight"), answer="2", number=2),
        candidate(text.replace("real numbers", "complex numbers or reals").replace("sum", "total"), number=3),
        candidate("∎", number=4),
        candidate("∎", number=5),
        candidate("□", number=6),
    ]
    outcome = NearDuplicates(0.7)(candidates)
    assert [kept.example.problem.id for kept in outcome.kept] == ["own/0", "own/3", "own/4", "own/6"]
    assert reasons(outcome) == ["the same words", "nearly the same words", "the same words"]
    assert outcome.dropped[1].evidence["of"] == "own/0"
    told_apart = NearDuplicates(0.7, equal_answers=True)(candidates)
    assert "own/2" in [kept.example.problem.id for kept in told_apart.kept]
    assert reasons(told_apart) == ["the same words", "the same words"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_near_duplicate_is_missed_and_none_is_invented(data: st.DataObject) -> None:
    """Against comparing all pairs."""
    similarity = data.draw(st.sampled_from([0.3, 0.5, 0.8, 1.0]))
    words = st.lists(st.sampled_from("abcde"), min_size=1, max_size=9)
    texts = [" ".join(each) for each in data.draw(st.lists(words, min_size=1, max_size=12))]

    def grams(text: str) -> set[tuple[str, ...]]:
        own = words_of(text)
        return {tuple(own[at : at + 3]) for at in range(max(1, len(own) - 2))}

    kept: list[str] = []
    for text in texts:
        near = [len(grams(text) & grams(other)) / len(grams(text) | grams(other)) for other in kept]
        if max(near, default=0) < similarity:
            kept.append(text)
    outcome = NearDuplicates(similarity)([candidate(text, number=n) for n, text in enumerate(texts)])
    assert [each.example.problem.problem for each in outcome.kept] == kept


@pytest.mark.parametrize(
    ("text", "answer", "form"),
    [
        (
            "How many? $\\textbf{(A)}\\ 8 \\qquad\\textbf{(B)}\\ 12 \\qquad\\textbf{(C)}\\ 13$",
            "8",
            "multiple choice",
        ),
        ("Which is largest?\nA. one\nB. two\nC. three", "3", "multiple choice"),
        ("Which is larger: (A) one (B) two?", "\\text{B}", "multiple choice"),
        ("True or false: 7 is prime.", "1", "true false"),
        ("Is 7 prime?", "\\text{Yes}", "true false"),
        ("Prove that 7 is prime.", "1", "proof"),
        ("Let p be odd. Show that p+1 is even.", "1", "proof"),
        ("Find x, and then prove that it is unique.", "1", "proof"),
        ("What is x? What is y?", "1", "several questions"),
        ("Let x=1. (a) Find x+1. (b) Find x+2.", "1", "several questions"),
        # and what only looks alike
        (
            "Find the area of ABC. [asy]dot(A);dot(B);dot(C);[/asy]",
            "1",
            None,
        ),
        ("It can be shown that x is unique. Find x.", "1", None),
        ("Show your work. What is 1+1?", "2", None),
        ('Tom asks "why?" and Ann asks "how?". How many questions is that?', "2", None),
        ("Vitamin A) and B) are sold. How many kinds?", "2", None),
        ("\\begin{align*} a+b &= 3 \\\\ a &= \\ ? \\end{align*} What is a?", "2", None),
        ("He bought yes-or-not cards. How many are true to size?", "4", None),
    ],
)
def test_forms(text: str, answer: str, form: str | None) -> None:
    assert reasons(ExcludeForms()([candidate(text, answer)])) == ([] if form is None else [form])


def test_only_named_forms_are_excluded() -> None:
    assert not ExcludeForms(["proof"])([candidate("True or false: 7 is prime.")]).dropped


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "no answer"),
        ("the set of all primes that divide n", "answer in prose"),
        ("7" * 201, "answer too long"),
        ("0^5", "answer not told from another"),
        ("0x9216c4fc", None),
        *(
            (answer, None)
            for answer in ("42", "-\\frac{3}{4}", "\\sqrt{2}+1", "(1, 2]", "x^2+1", "1_7", "12\\%")
        ),
        *(
            (answer, None)
            for answer in ("\\text{October 30}", "\\text{even}", "1,000", "\\pi", "Monday", "5x+3y=2")
        ),
    ],
)
def test_answers_that_can_be_verified(answer: str, reason: str | None) -> None:
    assert reasons(Verifiable()([candidate("?", answer)])) == ([] if reason is None else [reason])


def test_topics_are_capped_by_a_draw_that_does_not_depend_on_order() -> None:
    candidates = [candidate(f"p{n}", number=n, subject="abbb"[n % 4]) for n in range(400)]
    candidates += [candidate(f"q{n}", number=n + 400) for n in range(30)]
    outcome = TopicBalance(50)(candidates)
    counts = Counter(kept.example.problem.subject for kept in outcome.kept)
    assert counts == {"a": 50, "b": 50, None: 30}
    assert outcome.dropped[0].evidence.keys() == {"subject", "candidates", "most"}
    shuffled = random.Random(0).sample(candidates, len(candidates))
    assert {id(kept) for kept in TopicBalance(50)(shuffled).kept} == {id(kept) for kept in outcome.kept}
    assert {id(kept) for kept in TopicBalance(50, seed=1)(candidates).kept} != {
        id(kept) for kept in outcome.kept
    }


def test_curriculum_orders_and_labels() -> None:
    levels = [candidate("p", number=n, level=level) for n, level in enumerate((3, 1, "Level ?", 2, 1))]
    outcome = Curriculum()(levels)
    assert [kept.example.problem.id for kept in outcome.kept] == ["own/1", "own/4", "own/3", "own/0"]
    assert reasons(outcome) == ["no number as level"]
    rates = [
        candidate("p", number=n, notes={"pass_rate": rate}) for n, rate in enumerate((0.0, 1.0, 0.5, 0.19))
    ]
    kept = Curriculum("pass_rate", labels=5)(rates).kept
    assert [(each.example.problem.id, each.example.problem.level) for each in kept] == [
        ("own/1", 1),
        ("own/2", 3),
        ("own/3", 5),
        ("own/0", 5),
    ]
    with pytest.raises(ValueError, match="needs a step of kind 'pass_rate'"):
        Curriculum("pass_rate")([candidate("p")])


@pytest.mark.parametrize(
    ("thinking", "answer", "right"),
    [
        ("3+4=7", "7", True),
        ("3+4=7", "8", False),
        ("so 17 it is", "7", False),
        ("that is 1/2 of it", "0.5", True),
        ("50 % of it", "\\frac12", True),
        ("x = \\frac{1}{2}", "1/2", True),
        ("1 and 2 are there", "\\frac{1}{2}", False),
        ("in all 12,000 people", "12000", True),
        ("x is 3 or x is 5", "3, 5", True),
        ("x is 3", "(3, 5)", False),
        ("it must be even then", "\\text{even}", True),
        ("it must be odd", "\\text{even}", False),
        ("r = 2, so \\pi r^2 = 4\\pi", "4\\pi", True),
    ],
)
def test_what_thinking_reaches(thinking: str, answer: str, right: bool) -> None:
    assert reaches(thinking, answer) is right


def test_lucky_replies_are_dropped_and_truth_values_not_judged() -> None:
    candidates = [
        candidate("p", "7", thinking="3+4=7"),
        candidate("p", "7", 1, thinking="I guess something."),
        candidate("p", "yes", 2, thinking="As 7 is prime, it holds."),
        candidate("p", "7", 3),
        candidate("p", "1", 4, thinking="high 3 low 0", chance=0.5),
    ]
    outcome = LuckyGuesses()(candidates)
    assert [dropped.candidate.example.problem.id for dropped in outcome.dropped] == ["own/1"]
    assert outcome.dropped[0].evidence == {"answer": "7", "end": "I guess something."}


def test_no_trace_of_thinkmath_is_called_lucky() -> None:
    source = Thinkmath(0, None)
    outcome = LuckyGuesses()([Candidate(source.at(index)) for index in range(2000)])
    assert not outcome.dropped


@pytest.mark.skipif(not REAL.is_dir(), reason="the real problem sets are not at hand")
def test_real_training_problems_that_are_in_math500(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(REAL))
    problems = read_jsonl(REAL / "math_train.jsonl", "math_train")
    candidates = [Candidate(Example(problem)) for problem in problems[:1500]]
    filter_ = Decontaminate(["math500", "aime24", "aime25", "aime26", "amc23", "hmmt25"])
    planted = [Candidate(Example(problem)) for problem in read_jsonl(REAL / "math500.jsonl", "copy")[:20]]
    outcome = filter_([*candidates, *planted])
    found = Counter(dropped.candidate.example.problem.set for dropped in outcome.dropped)
    assert found["copy"] == 20
    assert 0 < found["math_train"] < 30
