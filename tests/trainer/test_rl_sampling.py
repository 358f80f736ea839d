"""Problems of a step: strategies, resuming, and what never repeats."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.problems import Problem
from trainer.examples import Example
from trainer.recipe.rl import ProblemSampling
from trainer.rl.sampling import ProblemSampler


class Levels:
    """Examples whose level is their place modulo 5; as many as `size`, or endless."""

    def __init__(self, size: int | None) -> None:
        self.size = size

    def at(self, index: int) -> Example:
        return Example(Problem(id=str(index), problem="", answer="", level=index % 5))


def sampler(strategy: str = "uniform", pool: int | None = None, size: int | None = None) -> ProblemSampler:
    settings = ProblemSampling.model_validate({"strategy": strategy, "pool": pool})
    return ProblemSampler(Levels(size), settings, seed=7)


def test_endless_sources_give_fresh_problems() -> None:
    problems = sampler()
    assert problems.draw(3, 0.0) == [0, 1, 2]
    assert problems.draw(2, 0.5) == [3, 4]


@given(st.integers(2, 30), st.lists(st.integers(1, 7), min_size=1, max_size=12))
def test_a_uniform_pool_is_asked_in_whole_passes(pool: int, counts: list[int]) -> None:
    problems = sampler(pool=pool)
    drawn = [place for count in counts for place in problems.draw(count, 0.0)]
    for start in range(0, len(drawn), pool):
        passed = drawn[start : start + pool]
        assert len(set(passed)) == len(passed)
        assert set(passed) <= set(range(pool))


def test_passes_over_a_pool_differ_in_order() -> None:
    problems = sampler(pool=20)
    assert problems.draw(20, 0.0) != problems.draw(20, 0.0)


def test_easy_problems_come_first_and_hard_ones_last() -> None:
    problems = sampler("easy_to_hard", pool=100)
    levels = [[place % 5 for place in problems.draw(20, progress)] for progress in (0.0, 0.5, 1.0)]
    assert max(levels[0]) <= 2
    assert min(levels[2]) >= 2
    means = [sum(its) / len(its) for its in levels]
    assert means == sorted(means)


def test_prioritised_draws_follow_one_minus_the_success_rate() -> None:
    """Kimi k1.5, section 2.3.4: P is proportional to 1 - s."""
    problems = sampler("prioritised", pool=2)
    for _ in range(40):
        problems.record(0, successes=8, tries=8)
        problems.record(1, successes=2, tries=8)
    counts = Counter(problems.draw(1, 0.0)[0] for _ in range(4000))
    expected = (1 - problems.success_rate(0)) / (2 - problems.success_rate(0) - problems.success_rate(1))
    assert problems.success_rate(0) == pytest.approx(17 / 18)
    assert counts[0] / 4000 == pytest.approx(expected, abs=0.01)


def test_problems_in_flight_are_not_drawn_again() -> None:
    problems = sampler("prioritised", pool=6)
    for _ in range(50):
        assert set(problems.draw(3, 0.0, taken=[0, 1, 2])) == {3, 4, 5}


@pytest.mark.parametrize("strategy", ["uniform", "easy_to_hard", "prioritised"])
def test_a_restored_sampler_draws_the_same(strategy: str) -> None:
    first, second = sampler(strategy, pool=30), sampler(strategy, pool=30)
    for step in range(9):
        for place in first.draw(4, step / 20):
            first.record(place, successes=place % 5, tries=4)
    second.restore(first.state())
    for step in range(9, 20):
        assert first.draw(4, step / 20) == second.draw(4, step / 20)


def test_choosing_needs_a_fixed_set() -> None:
    with pytest.raises(ValueError, match=r"sampling\.pool: None is wrong .* 'prioritised'"):
        sampler("prioritised")
    assert set(sampler("prioritised", size=4).draw(4, 0.0)) == {0, 1, 2, 3}
