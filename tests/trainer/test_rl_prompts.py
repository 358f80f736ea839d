"""Prompts of groups: modes, budgets and seeds."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from evals.problems import Problem
from serve import DEFAULT_MODEL
from serve.formats import load_format
from trainer.examples import Example
from trainer.recipe.rl import Budget, Modes
from trainer.rl.budgets import draw_budget
from trainer.rl.prompts import PromptGroup, draw_prompt, draw_thinks, group_requests
from trainer.seeds import derive_rng, derive_seed

FORM = load_format(AutoTokenizer.from_pretrained(DEFAULT_MODEL), DEFAULT_MODEL)


def example(text: str) -> Example:
    return Example(Problem(id=text, problem=text, answer="1"), response="The answer is 2.")


@given(st.integers(1, 50), st.integers(0, 50), st.floats(0, 1), st.integers(0, 10**6))
def test_budgets_stay_between_their_ends(low: int, more: int, progress: float, seed: int) -> None:
    for mode in ("uniform", "curriculum"):
        settings = Budget.model_validate({"mode": mode, "low": low, "high": low + more})
        budget = draw_budget(settings, random.Random(seed), progress)
        assert budget is not None
        assert low <= budget <= low + more


def test_a_curriculum_opens_downwards_over_the_stage() -> None:
    settings = Budget(mode="curriculum", low=10, high=50)
    lowest = []
    for progress in (0.0, 0.5, 1.0):
        drawn = [draw_budget(settings, random.Random(seed), progress) for seed in range(2000)]
        lowest.append(min(budget for budget in drawn if budget is not None))
        assert max(budget for budget in drawn if budget is not None) == 50
    assert lowest == [50, 30, 10]


def test_a_share_of_the_groups_thinks_freely() -> None:
    settings = Budget(mode="uniform", low=1, high=9, share=0.25)
    rng = random.Random(0)
    drawn = [draw_budget(settings, rng, 0.0) for _ in range(4000)]
    assert drawn.count(None) / 4000 == pytest.approx(0.75, abs=0.03)
    assert draw_budget(Budget(), rng, 0.0) is None


def test_modes_are_drawn_by_their_share() -> None:
    rng = random.Random(0)
    thinking = sum(draw_thinks(Modes(no_think=0.3), rng) for _ in range(4000))
    assert thinking / 4000 == pytest.approx(0.7, abs=0.03)


def test_prompts_ask_for_their_mode_in_every_way() -> None:
    modes = Modes(no_think=0.5, flagged=0.5, in_system=0.5, multi_turn=0.5)
    seen: Counter[tuple[bool, str]] = Counter()
    for seed in range(300):
        thinks = seed % 2 == 0
        ids = draw_prompt(FORM, modes, random.Random(seed), example("2 + 2?"), example("1 + 1?"), thinks)
        text = FORM.tokenizer.decode(ids)
        flags = [word for word in text.replace("<|im_end|>", " ").split() if word in ("/think", "/no_think")]
        hard = text.endswith("<think>\n\n</think>\n\n")
        assert hard or not flags or (flags[-1] == "/think") == thinks
        assert not (hard and thinks)
        assert hard or thinks or flags
        seen[thinks, flags[-1] if flags and not hard else "hard" if hard else "plain"] += 1
        seen[thinks, "multi" if "1 + 1?" in text else "single"] += 1
    assert set(seen) == {
        *((True, way) for way in ("/think", "plain", "multi", "single")),
        *((False, way) for way in ("/no_think", "hard", "multi", "single")),
    }


def test_every_reply_of_a_stage_has_a_seed_of_its_own() -> None:
    problem = Problem(id="p", problem="1 + 1?", answer="2")
    seeds = [
        request.seed
        for step in range(20)
        for index in range(8)
        for request in group_requests(PromptGroup(step, index, 0, problem, True, 5, (1, 2)), 3, 8, 64, 16)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed(0, "sample", 1, 2, 3) == 2045369311
    assert derive_rng(1, "a").random() == derive_rng(1, "a").random()
    assert derive_seed(1, 23) != derive_seed(12, 3)
