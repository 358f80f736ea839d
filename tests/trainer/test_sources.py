"""Streams of examples: what sources read, in which order, and how they refuse what they cannot use."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evals.problems import thinkmath
from evals.problems.thinkmath import held_out
from trainer.examples import Example
from trainer.recipe.data import Source
from trainer.sources import open_sources
from trainer.sources.finite import Distinct
from trainer.sources.stream import BLOCK, ExampleStream
from trainer.sources.thinkmath import reads_as_held_out


class Numbered:
    """A source of which an example's thinking tells its number."""

    def __init__(self, name: str, size: int | None) -> None:
        self.name = name
        self.size = size

    def at(self, index: int) -> Example:
        assert index in range(self.size or 10**9)
        problem = held_out(1)[0]
        return Example(problem, thinking=str(index), response=self.name)


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def opened(*sources: Source, seed: int = 0) -> ExampleStream:
    return open_sources(sources, seed)


def first(path: Path, rows: list[Any], **members: Any) -> Example:
    """The example in the first row."""
    stream = opened(Source(kind="jsonl", path=written(path, rows), **members))
    assert stream.size == len(rows)
    return min((stream.at(i) for i in range(len(rows))), key=lambda example: example.problem.id)


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.none(), st.integers(1, 40)), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.05, 10), min_size=4, max_size=4),
    seed=st.integers(0, 1000),
)
def test_a_mixture_keeps_its_shares_and_visits_finite_sources_in_passes(
    sizes: list[int | None], weights: list[float], seed: int
) -> None:
    sources = [Numbered(str(number), size) for number, size in enumerate(sizes)]
    stream = ExampleStream(sources, weights[: len(sizes)], seed)
    draws = [(example.response, int(example.thinking or "")) for example in map(stream.at, range(2 * BLOCK))]
    total = sum(weights[: len(sizes)])
    for number, size in enumerate(sizes):
        own = [index for name, index in draws if name == str(number)]
        assert len(own) == pytest.approx(2 * BLOCK * weights[number] / total, abs=2)
        if size is None:
            assert own == list(range(len(own)))
            continue
        for begin in range(0, len(own) - size + 1, size):
            assert sorted(own[begin : begin + size]) == list(range(size))
    assert stream.size == (None if None in sizes else sum(size or 0 for size in sizes))


def test_a_draw_depends_on_seed_and_index_alone() -> None:
    def stream(seed: int) -> ExampleStream:
        return ExampleStream([Numbered("a", 30), Numbered("b", None)], [1.0, 2.0], seed)

    forward = [stream(3).at(index) for index in range(300)]
    same = stream(3)
    assert [same.at(index) for index in reversed(range(300))][::-1] == forward
    other = stream(4)
    assert [other.at(index) for index in range(300)] != forward
    passes = [
        [example for example in forward if example.response == "a"][begin : begin + 30] for begin in (0, 30)
    ]
    assert passes[0] != passes[1]


def test_a_weight_too_small_to_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.1\.weight: 0\.0001"):
        ExampleStream([Numbered("a", None), Numbered("b", None)], [1.0, 0.0001], 0)


def test_thinkmath_is_its_training_split_and_reaches_every_level() -> None:
    stream = opened(Source(kind="thinkmath"))
    assert stream.size is None
    examples = [stream.at(index) for index in range(2000)]
    held = {problem.problem for problem in held_out(1000)}
    assert held.isdisjoint(example.problem.problem for example in examples)
    counts = Counter(example.problem.level for example in examples)
    assert set(counts) == set(thinkmath.LEVELS)
    assert min(counts.values()) > 320
    for example in examples:
        assert example.response == f"The answer is \\boxed{{{example.problem.answer}}}."
        assert example.thinking


def test_a_training_expression_is_no_held_out_one_swapped() -> None:
    """3+7 is written as 7+3 too, and the two may belong to different splits."""
    rng = random.Random(0)
    held = {thinkmath.draw(rng, "test", level, "expression").problem.problem for level in (1, 2) * 300}
    drawn = [thinkmath.draw(rng, "train", level, "expression") for level in (1, 2) * 600]
    twins = [item for item in drawn if item.problem.problem in held]
    assert twins
    assert all(reads_as_held_out(item) for item in twins)
    assert sum(map(reads_as_held_out, drawn)) < len(drawn) / 5


def test_thinkmath_levels_weigh() -> None:
    stream = opened(Source(kind="thinkmath", levels={1: 3, 5: 1}))
    counts = Counter(stream.at(index).problem.level for index in range(2000))
    assert set(counts) == {1, 5}
    assert counts[1] == pytest.approx(1500, abs=90)


def test_two_thinkmath_sources_differ_and_a_limit_gives_distinct_problems() -> None:
    stream = opened(Source(kind="thinkmath", limit=100), Source(kind="thinkmath", limit=100))
    assert stream.size == 200
    texts = [stream.at(index).problem.problem for index in range(BLOCK)]
    assert 150 < len(set(texts)) <= 200
    one = opened(Source(kind="thinkmath", limit=100))
    assert len({one.at(index).problem.problem for index in range(100)}) == 100


def test_a_limit_beyond_what_a_source_has_is_refused() -> None:
    with pytest.raises(ValueError, match="limit: 2 is more than the source has: after 1 problems"):
        Distinct(Numbered("always the same problem", None), 2)


@pytest.mark.parametrize("levels", [{6: 1.0}, {1: -1.0, 2: 2.0}, {1: 0.0}])
def test_wrong_levels_are_refused(levels: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r"data\.0 \(thinkmath\): levels"):
        opened(Source(kind="thinkmath", levels=levels))


def test_the_same_in_another_process() -> None:
    code = (
        "from trainer.sources import open_sources; from trainer.recipe.data import Source\n"
        "s = open_sources([Source(kind='thinkmath'), Source(kind='thinkmath', limit=50)], 7)\n"
        "print([s.at(i).problem.id for i in (0, 1, 5, 999, 1000, 123456)])"
    )
    own = opened(Source(kind="thinkmath"), Source(kind="thinkmath", limit=50), seed=7)
    environment = {**os.environ, "PYTHONHASHSEED": "11"}
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert output.strip() == str([own.at(index).problem.id for index in (0, 1, 5, 999, 1000, 123456)])


def test_columns_are_mapped(tmp_path: Path) -> None:
    row = {"q": "1+1?", "gold": 2, "cot": "\n1+1=2\n", "out": "It is 2.", "difficulty": "Level 3", "x": [1]}
    columns = {"problem": "q", "answer": "gold", "thinking": "cot", "response": "out", "level": "difficulty"}
    example = first(tmp_path / "own.jsonl", [row], columns=columns)
    assert (example.thinking, example.response) == ("1+1=2", "It is 2.")
    problem = example.problem
    assert (problem.id, problem.problem, problem.answer, problem.level) == ("own/1", "1+1?", "2", 3)
    assert problem.set == "own"


@pytest.mark.parametrize(
    ("reply", "thinking", "response"),
    [
        ("<think>\na\nb\n</think>\n\nc", "a\nb", "c"),
        ("a</think>c", "a", "c"),
        ("<think>\n\n</think>\n\nc", None, "c"),
        ("c", None, "c"),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
    ],
)
def test_thinking_is_split_off_a_reply(
    tmp_path: Path, reply: str, thinking: str | None, response: str
) -> None:
    plain = first(tmp_path / "a.jsonl", [{"problem": "p", "answer": "1", "response": reply}])
    turns = [{"role": "user", "content": "p"}, {"role": "assistant", "content": reply}]
    chat = first(tmp_path / "b.jsonl", [{"messages": turns}])
    for example in (plain, chat):
        assert (example.thinking, example.response) == (thinking, response)
    assert chat.problem.messages == ()
    assert chat.problem.problem == "p"


def test_tags_are_given(tmp_path: Path) -> None:
    rows = [{"problem": "p", "response": "[T]a[/T]<think>b"}]
    example = first(tmp_path / "a.jsonl", rows, think_tags=("[T]", "[/T]"))
    assert (example.thinking, example.response, example.problem.answer) == ("a", "<think>b", "")


def test_conversations(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "1?"}]},
        {"role": "assistant", "content": "<think>x</think>one"},
        {"role": "user", "content": "2?"},
        {"role": "assistant", "content": "two", "reasoning_content": "\nr\n"},
    ]
    example = first(tmp_path / "a.jsonl", [{"messages": turns, "answer": "2"}])
    assert example.problem.messages == (("system", "s"), ("user", "1?"), ("assistant", "one"), ("user", "2?"))
    assert (example.problem.problem, example.thinking, example.response) == ("2?", "r", "two")
    asked = first(
        tmp_path / "b.jsonl", [{"messages": turns[:4], "answer": "2", "thinking": "t", "response": "2"}]
    )
    assert asked.problem.messages == example.problem.messages
    assert (asked.thinking, asked.response) == ("t", "2")


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"problem": "p"}, {}, "neither an answer nor a response.*columns.response"),
        ({"answer": "1"}, {}, "'problem' is missing or empty; name the column.*'answer'"),
        ({"problem": "p", "answer": "1"}, {"response": "out"}, r"no column 'out' \(columns.response\)"),
        ({"problem": ["p"], "answer": "1"}, {}, "column 'problem' is .*expected a string"),
        ({"problem": "p", "answer": True}, {}, "column 'answer' is True"),
        ({"problem": "p", "answer": "1", "subject": 3}, {}, "column 'subject' is 3"),
        ({"problem": "p", "answer": "1", "chance": 2}, {}, "column 'chance' is 2"),
        ({"problem": "p", "response": "<think>a"}, {}, "never closes with </think>"),
        ({"messages": []}, {}, "column 'messages' is"),
        ({"messages": [{"from": "human", "value": "p"}]}, {}, "message 0 is .*role of system"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, {}, "no user's message"),
        ({"messages": [{"role": "user", "content": None}]}, {}, "message 0 has the content None"),
        (
            {
                "messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}],
                "response": "b",
            },
            {},
            "both the last of 'messages' and column 'response'",
        ),
        (["p"], {}, "expected an object with columns, got list"),
    ],
)
def test_errors_name_file_line_and_column(
    tmp_path: Path, row: Any, columns: dict[str, str], message: str
) -> None:
    good = {"problem": "p", "answer": "1", "out": "1"}
    path = written(tmp_path / "own.jsonl", [good, row])
    with pytest.raises(ValueError, match=rf"data\.0 \(jsonl\): .*own\.jsonl:2: .*{message}"):
        opened(Source(kind="jsonl", path=path, columns=columns))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file '.*absent\.jsonl'"):
        opened(Source(kind="jsonl", path=tmp_path / "absent.jsonl"))
    with pytest.raises(ValueError, match=r"empty\.jsonl has no line"):
        opened(Source(kind="jsonl", path=written(tmp_path / "empty.jsonl", [])))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"problem": "p", "answer": "1"}\n{"prob', encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.jsonl:2: not JSON"):
        opened(Source(kind="jsonl", path=broken))
    twice = written(tmp_path / "twice.jsonl", [{"id": 1, "problem": "p", "answer": "1"}] * 2)
    with pytest.raises(ValueError, match=r"twice\.jsonl:2: id 'twice/1' is already that of line 1"):
        opened(Source(kind="jsonl", path=twice))
    with pytest.raises(ValueError, match="columns: 'question' is no member"):
        opened(Source(kind="jsonl", path=twice, columns={"question": "problem"}))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"kind": "thinkmath", "split": "test"}, "split: a source of kind 'thinkmath' has none"),
        ({"kind": "jsonl", "path": "a.jsonl", "levels": {1: 1}}, "levels: a source of kind 'jsonl' has none"),
        ({"kind": "jsonl"}, "path: a source of kind 'jsonl' needs"),
        ({"kind": "hub"}, "name or path: a source of kind 'hub' needs"),
        ({"kind": "reasoning_gym"}, "name: a source of kind 'reasoning_gym' needs"),
    ],
)
def test_members_of_other_kinds_are_refused(members: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Source.model_validate(members)


def test_problems_without_answers_are_refused_where_replies_are_graded(tmp_path: Path) -> None:
    rows = [
        {"problem": "1+1?", "answer": "2", "id": "sum"},
        {"problem": "Who are you?", "response": "A model.", "id": "chat"},
    ]
    source = Source(kind="jsonl", path=written(tmp_path / "mixed.jsonl", rows))
    assert open_sources([source], seed=0).size == 2
    with pytest.raises(ValueError, match=r"data\.1 \(jsonl\): row 2, 'mixed[^']*chat', has no answer"):
        open_sources([Source(kind="thinkmath"), source], seed=0, answered=True)
    assert open_sources([source.model_copy(update={"limit": 1})], seed=0, answered=True).size == 1
