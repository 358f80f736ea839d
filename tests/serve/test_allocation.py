"""Who thinks less when replies may take less work: by hand, and against every other choice."""

from itertools import product

import pytest

from serve.allocation import Option, Rule, Share, allocate

CONCAVE = [Option(0, 1.0, 0.4), Option(8, 2.0, 0.7), Option(16, 3.0, 0.85), Option(None, 5.0, 0.95)]
LATE = [Option(0, 1.0, 0.3), Option(8, 2.5, 0.3), Option(16, 4.0, 0.5), Option(None, 5.0, 0.9)]
"""Thinking is worth nothing until it is complete."""


def outcome(shares: dict[str | None, Share], rules: dict[str | None, Rule]) -> tuple[float, float]:
    """Mean work and accuracy under rules."""
    work = accuracy = 0.0
    for name, family in shares.items():
        options = {option.ceiling: option for option in family.options}
        rule = rules[name]
        for ceiling, part in ((rule.ceiling, 1 - rule.lowered), (rule.lower, rule.lowered)):
            if part:
                work += family.share * part * options[ceiling].work
                accuracy += family.share * part * options[ceiling].accuracy
    return work, accuracy


def test_enough_work_lowers_nothing() -> None:
    assert allocate({None: Share(1.0, CONCAVE)}, 5.0) == {None: Rule(None)}


def test_a_concave_curve_is_walked_down_step_by_step() -> None:
    shares: dict[str | None, Share] = {None: Share(1.0, CONCAVE)}
    assert allocate(shares, 4.0) == {None: Rule(None, 16, 0.5)}
    assert allocate(shares, 3.0) == {None: Rule(16)}
    assert allocate(shares, 2.25) == {None: Rule(16, 8, 0.75)}
    assert allocate(shares, 0.5) == {None: Rule(0)}


def test_where_half_a_thought_is_worth_nothing_some_do_not_think_at_all() -> None:
    assert allocate({None: Share(1.0, LATE)}, 3.0) == {None: Rule(None, 0, 0.5)}


@pytest.mark.parametrize("allowed", [1.2, 2.0, 2.9, 3.6, 4.4])
def test_no_other_rules_of_the_same_work_lose_less(allowed: float) -> None:
    shares: dict[str | None, Share] = {
        None: Share(0.5, CONCAVE),
        "late": Share(0.3, LATE),
        "none yet": Share(0.0, CONCAVE),
        "cheap": Share(0.2, [Option(0, 1.0, 0.9), Option(None, 4.0, 0.95)]),
    }
    work, accuracy = outcome(shares, allocate(shares, allowed))
    assert work == pytest.approx(allowed)
    pairs = [
        [(high, low) for high in family.options for low in family.options if low.work <= high.work]
        for family in (shares[None], shares["late"], shares["cheap"])
    ]
    for chosen in product(*pairs):
        for tenths in product(range(0, 11, 5), repeat=3):
            rules: dict[str | None, Rule] = {
                name: Rule(high.ceiling, low.ceiling, tenth / 10)
                for name, (high, low), tenth in zip((None, "late", "cheap"), chosen, tenths, strict=True)
            }
            other = outcome(shares, {**rules, "none yet": Rule(None)})
            assert other[0] > allowed + 1e-9 or other[1] <= accuracy + 1e-9


def test_a_family_without_requests_goes_with_the_others() -> None:
    shares: dict[str | None, Share] = {None: Share(1.0, CONCAVE), "unseen": Share(0.0, CONCAVE)}
    assert allocate(shares, 2.5)["unseen"].least == 16
