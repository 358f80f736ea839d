"""Prompts: sets have the preset they are published with, and no text in a problem can break a template."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.problems import Problem
from evals.problems.catalogue import SETS
from evals.problems.prompts import PRESETS, SLOT, preset_of, prompt

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."


def problem_of(text: str, name: str = "") -> Problem:
    return Problem(id="x/1", problem=text, answer="1", set=name)


@given(st.text(), st.sampled_from(sorted(PRESETS)))
def test_the_problem_stands_unchanged_in_the_prompt(text: str, name: str) -> None:
    before, after = PRESETS[name].template.split(SLOT)
    assert prompt(problem_of(text), name) == before + text + after


def test_braces_mean_nothing() -> None:
    hostile = "{0} {problem} {x!r} }{ %s $problem \\frac{1}{2} {{"
    assert prompt(problem_of(hostile), "Q {a} {{ {problem} }}") == "Q {a} {{ " + hostile + " }}"


def test_sets_have_defaults_and_files_are_asked_as_written() -> None:
    for name in SETS:
        assert prompt(problem_of("p", name)) == f"p\n{BOXED}"
    assert prompt(problem_of("p", "hmmt_feb_2025")) == f"p\n{BOXED}"
    for name in ("thinkmath", "mine", ""):
        assert prompt(problem_of("p", name)) == "p"


def test_presets_are_complete() -> None:
    assert {"qwen3", "qwen3-choice", "deepseek-r1", "matharena", "lm-eval", "plain"} <= set(PRESETS)
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.source
        assert preset.template.count(SLOT) == 1
    assert '`"answer": "C"`' in PRESETS["qwen3-choice"].template


def test_templates_from_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("Solve:\n{problem}\n\nEnd.\n", encoding="utf-8")
    assert prompt(problem_of("p", "aime24"), str(path)) == "Solve:\np\n\nEnd."
    assert preset_of("aime24", str(path)).source == f"file {path}"
    path.write_text("Solve.", encoding="utf-8")
    with pytest.raises(ValueError, match=r"holds \{problem\} 0 times"):
        preset_of("aime24", str(path))
    with pytest.raises(ValueError, match=r"holds \{problem\} 2 times"):
        preset_of("aime24", "{problem}{problem}")
    with pytest.raises(ValueError, match="'no-such' is no preset, template or file"):
        preset_of("aime24", "no-such")
