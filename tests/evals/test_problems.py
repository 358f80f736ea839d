"""Problem sets: thinkmath is right, graded and disjoint; JSONL files are read or refused clearly."""

import itertools
import json
import random
import re
from pathlib import Path

import pytest

from evals.problems import load, thinkmath
from evals.problems.thinkmath import Item

EQUATION = re.compile(r"(\d+)([-+*%])(\d+)=(\d)")
OPERATIONS = {
    "+": lambda a, b: (a + b) % 10,
    "-": lambda a, b: (a - b) % 10,
    "*": lambda a, b: (a * b) % 10,
    "%": lambda a, b: a % b,
}


def solve_from_text(item: Item) -> int:
    """The answer worked out from the words alone, by other means than the generator's."""
    text, family = item.problem.problem, item.problem.subject
    if family == "chain":
        value = int(re.search(r"start with (\d)", text)[1])
        for sign, operand in re.findall(r"([-+*])(\d)", text):
            value = OPERATIONS[sign](value, int(operand))
        return value
    if family == "story":
        value = int(re.search(r"counter at (\d)", text)[1])
        signs = {"adds": "+", "takes away": "-", "multiplies by": "*"}
        for verb, operand in re.findall(r"(adds|takes away|multiplies by) (\d)", text):
            value = OPERATIONS[signs[verb]](value, int(operand))
        return value
    if family == "variables":
        names: dict[str, int] = {}
        for name, definition in re.findall(r"([a-z])=(\S+?)[,.]", text):
            names[name] = eval(definition, {}, names) % 10
        return names[re.search(r"What is ([a-z])\?", text)[1]]
    if family == "expression":
        return eval(re.search(r"compute (.*)\.", text)[1]) % 10
    if family == "sequence":
        a, b = map(int, re.search(r"starts (\d), (\d)", text).groups())
        for _ in range(int(re.search(r"term (\d+)\?", text)[1]) - 2):
            a, b = b, (a + b) % 10
        return b
    if family == "remainder":
        number, divisor = map(int, re.search(r"of (\d+) divided by (\d)", text).groups())
        return number % divisor
    ends = []
    for start, steps in re.findall(r"\(\d\) (\d)((?: [-+*]\d)+)", text):
        value = int(start)
        for sign, operand in re.findall(r"([-+*])(\d)", steps):
            value = OPERATIONS[sign](value, int(operand))
        ends.append(value)
    if family == "majority":
        return int(sum(end >= 5 for end in ends) > len(ends) / 2)
    return ends.index(max(ends) if family == "highest" else min(ends)) + 1


@pytest.mark.parametrize("level", thinkmath.LEVELS)
def test_answers_and_traces_are_right(level: int) -> None:
    rng = random.Random(level)
    for family in thinkmath.families_at(level):
        for _ in range(50):
            item = thinkmath.draw(rng, "train", level, family)
            assert item.problem.answer == str(solve_from_text(item)), item
            equations = EQUATION.findall(item.trace)
            assert equations
            for left, sign, right, result in equations:
                assert OPERATIONS[sign](int(left), int(right)) == int(result), item.trace


def test_levels_count_steps() -> None:
    rng = random.Random(0)
    for level, (fewest, most) in thinkmath.STEPS.items():
        for _ in range(20):
            item = thinkmath.draw(rng, "test", level, "chain")
            assert fewest <= len(EQUATION.findall(item.trace)) <= most
    means = [
        sum(len(EQUATION.findall(thinkmath.draw(rng, "train", level).trace)) for _ in range(100)) / 100
        for level in thinkmath.LEVELS
    ]
    assert means == sorted(means)


def test_train_and_test_are_disjoint_by_canonical_problem() -> None:
    train = {item.canonical for item in itertools.islice(thinkmath.stream("train", 0), 20_000)}
    test = {item.canonical for item in itertools.islice(thinkmath.stream("test", 0), 5_000)}
    assert not train & test
    assert len(test) > 1_000


def test_wordings_of_one_computation_share_their_canonical_form() -> None:
    by_canonical: dict[str, set[str]] = {}
    rng = random.Random(0)
    for _ in range(4_000):
        item = thinkmath.draw(rng, "train", 1, rng.choice(["chain", "variables", "expression", "story"]))
        by_canonical.setdefault(item.canonical, set()).add(str(item.problem.subject))
    assert any(len(families) == 4 for families in by_canonical.values())


def test_chance_is_what_a_constant_guess_scores() -> None:
    rng = random.Random(0)
    for family, guess in (("chain", "7"), ("remainder", "0"), ("highest", "1"), ("lowest", "1")):
        items = [thinkmath.draw(rng, "train", 4, family) for _ in range(3_000)]
        scored = sum(item.problem.answer == guess for item in items) / len(items)
        expected = sum(item.problem.chance or 0 for item in items) / len(items)
        # Four standard errors of a share near 0.3 over 3,000 draws.
        assert scored == pytest.approx(expected, abs=0.034), family


def test_test_set_is_stable_balanced_and_without_repeats() -> None:
    problems = load("thinkmath", limit=250)
    assert problems == load("thinkmath", limit=250)
    assert problems != load("thinkmath", limit=250, seed=1)
    assert load("thinkmath", limit=100) == problems[:100]
    assert len({problem.problem for problem in problems}) == 250
    assert [problem.level for problem in problems[:10]] == [1, 2, 3, 4, 5] * 2
    assert len(load("thinkmath")) == 500


def test_jsonl_is_read_in_order_and_metadata_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    rows = [
        {"id": "a", "problem": "1+1?", "answer": "2", "level": 1, "subject": "sums", "source": "here"},
        {"id": 2, "problem": "2+2?", "answer": 4},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    first, second = load(str(path))
    assert (first.id, first.level, first.subject, first.set) == ("set/a", 1, "sums", "set")
    assert (second.id, second.answer, second.level) == ("set/2", "4", None)
    assert load(str(path), limit=1) == [first]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "a", "problem": "p"}', "'answer' is missing"),
        ('{"id": "a", "problem": "p", "answer": 1.5}', "'answer' is 1.5"),
        ('{"id": "a", "problem": "p", "answer": "1", "chance": 2}', "'chance' is 2"),
        ('{"id": "a", "problem": "p", "answer": "1", "subject": 3}', "'subject' is 3"),
        ("[1]", "expected a JSON object"),
        ("{", "not JSON"),
        (
            '{"id": "a", "problem": "p", "answer": "1"}\n{"id": "a", "problem": "q", "answer": "2"}',
            ":2: id 'set/a'",
        ),
    ],
)
def test_malformed_jsonl_names_line_and_member(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        load(str(path))


def test_unknown_sets_and_limits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'no-such-set' is no set; give thinkmath, .*aime24"):
        load("no-such-set")
    with pytest.raises(ValueError, match="limit is 0"):
        load("thinkmath", limit=0)
    with pytest.raises(ValueError, match="level is 6"):
        thinkmath.draw(random.Random(0), "train", 6)
    with pytest.raises(ValueError, match="family is 'highest'; at level 1"):
        thinkmath.draw(random.Random(0), "train", 1, "highest")


def test_a_level_that_is_used_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinkmath, "MOST_MISSED", 0)
    with pytest.raises(ValueError, match=r"limit: after \d+ problems thinkmath has none of level \d left"):
        load("thinkmath", limit=50)
