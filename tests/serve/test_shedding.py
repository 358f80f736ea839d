"""Load shedding in a simulated server: it keeps its target, touches nothing that is no load, and is calm."""

import random
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

import pytest

from serve.profile import ThinkingProfile
from serve.shedding import Shedding
from tests.serve.simulated_load import (
    Machine,
    Reply,
    p95,
    profile_of,
    saturated,
    simulate,
    work,
)

BUDGETS = (0, 8, 16, 24, 32, 40, 48, 64, 96, 128)
SHORT, LONG = "short", "long"
SLOTS = Machine().slots
USUAL = 0.7
"""Share of a saturated server's throughput that it carries with room for chance."""


def lengths(median: float, spread: float, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [max(2, int(median * rng.lognormvariate(0, spread))) for _ in range(500)]


NATURAL = lengths(30, 0.7, 1)
PROFILE = profile_of({None: NATURAL}, BUDGETS)
CAPACITY = saturated(NATURAL)


@cache
def target() -> float:
    return 2 * p95(simulate(None, lambda time: USUAL * CAPACITY, 60, {None: NATURAL}))


def shed(
    rate: Callable[[float], float],
    seconds: float,
    *,
    seed: int = 0,
    requested: int | None = None,
    floor: int | None = 0,
) -> tuple[list[Reply], list[tuple[float, float]]]:
    """Replies under shedding, and each change of what replies may take, with its time."""
    shedding = Shedding(PROFILE, target(), floors={None: floor}, slots=SLOTS)
    changes: list[tuple[float, float]] = []
    shedding.on_change = lambda allowance, ceiling: changes.append((shedding.looked, allowance))
    replies = simulate(shedding, rate, seconds, {None: NATURAL}, seed=seed, requested=requested)
    return replies, changes


def constant(rate: float, time: float) -> float:
    return rate


def right(replies: list[Reply]) -> float:
    return sum(reply.right for reply in replies) / len(replies)


@pytest.mark.parametrize("seed", range(3))
def test_usual_load_is_not_touched(seed: int) -> None:
    replies, changes = shed(lambda time: USUAL * CAPACITY, 200, seed=seed)
    assert len(replies) > 5000
    assert changes == []
    assert all(reply.ceiling is None for reply in replies)


@pytest.mark.parametrize("overload", [1.2, 1.5, 2.0])
def test_more_than_the_server_carries_is_answered_in_time(overload: float) -> None:
    plain = simulate(None, lambda time: overload * CAPACITY, 60, {None: NATURAL})
    replies, _ = shed(lambda time: overload * CAPACITY, 60)
    assert p95(plain) > 2 * target()
    assert p95(replies) <= 1.15 * target()  # the beginning included, when the server knows nothing of itself
    assert p95([reply for reply in replies if reply.arrived > 10]) <= target()
    # What is lost is about what the work of the requests makes inevitable: some think, the others do not.
    off, full = work(0, Machine()), 1 / CAPACITY
    inevitable = (full / overload - off) / (full - off)
    assert right(replies) > inevitable - 0.15


def test_a_floor_is_kept_even_where_the_target_is_not() -> None:
    replies, _ = shed(lambda time: 2 * CAPACITY, 20, floor=40)
    assert min(reply.ceiling for reply in replies if reply.ceiling is not None) == 40
    assert p95(replies) > target()
    replies, _ = shed(lambda time: 2 * CAPACITY, 10, floor=None)
    assert all(reply.ceiling is None for reply in replies)


def test_no_oscillation() -> None:
    _, changes = shed(lambda time: 1.3 * CAPACITY, 120)
    settled = [allowance for time, allowance in changes if time > 20]
    assert len(settled) > 100
    # In steady overload what replies may take moves within a narrow band, and slowly.
    assert max(settled) - min(settled) < 0.3
    steps = [abs(after - before) for before, after in pairwise(settled)]
    assert max(steps) < 0.1


def test_released_when_the_load_has_passed_and_not_at_once() -> None:
    def rate(time: float) -> float:
        return (1.5 if 20 < time < 50 else 0.5) * CAPACITY

    replies, changes = shed(rate, 90)
    assert all(reply.ceiling is None for reply in replies if reply.arrived < 20)
    began, ended = changes[0][0], changes[-1][0]
    assert 20 < began < 20 + 2 * target()
    assert 50 + target() < ended < 50 + 8 * target()
    assert all(reply.ceiling is None for reply in replies if reply.arrived > ended)
    after = [allowance for time, allowance in changes if time > 52]
    assert after == sorted(after)


def test_requests_that_ask_little_bring_little() -> None:
    # As many requests as would be too many, were they not limited by themselves; most are cut, at a price.
    rate = USUAL / (work(4, Machine()) + Machine().per_start)
    assert rate > CAPACITY
    replies, changes = shed(lambda time: rate, 60, requested=4)
    assert changes == []
    assert len(replies) > 3000


def test_traffic_unlike_the_profile_is_learned() -> None:
    # All think three times as long as the profile says: the load at which shedding begins is known from that.
    longer = [3 * length for length in NATURAL]
    shedding = Shedding(PROFILE, 3 * target(), slots=SLOTS)
    calm = simulate(shedding, lambda time: USUAL * saturated(longer), 120, {None: longer})
    assert sum(reply.ceiling is not None for reply in calm) < 0.02 * len(calm)
    shedding = Shedding(PROFILE, 3 * target(), slots=SLOTS)
    replies = simulate(shedding, lambda time: 1.5 * saturated(longer), 120, {None: longer})
    assert p95([reply for reply in replies if reply.arrived > 40]) <= 3 * target()


def test_another_machine() -> None:
    """Steps that cost the same with one reply and with a hundred, as on a large accelerator."""
    machine = Machine(overhead=0.02, per_token=0.00005, per_start=0.005)
    natural = lengths(600, 0.7, 2)
    profile = profile_of({None: natural}, [16 * budget for budget in BUDGETS])
    capacity = saturated(natural, machine, SLOTS)
    usual = simulate(None, lambda time: USUAL * capacity, 400, {None: natural}, machine=machine)
    limit = 2 * p95(usual)
    for load, touched in ((USUAL, False), (1.5, True)):
        shedding = Shedding(profile, limit, slots=SLOTS)
        rate = partial(constant, load * capacity)
        replies = simulate(shedding, rate, 400, {None: natural}, machine=machine)
        assert any(reply.ceiling is not None for reply in replies) == touched
        assert p95(replies) <= limit


def test_replies_that_wait_for_one_of_few_slots() -> None:
    """What is owed may be most of the target then, as a reply that runs hardly shares the server."""
    machine = Machine(overhead=0.0035, per_token=0.00016, per_start=0.002, slots=4)
    natural = lengths(36, 0.5, 3)
    profile = profile_of({None: natural}, BUDGETS)
    capacity = saturated(natural, machine, machine.slots)
    usual = simulate(None, lambda time: 0.65 * capacity, 60, {None: natural}, machine=machine)
    limit = 2 * p95(usual)
    answered = []
    for seed in range(3):
        calm, crowd = (
            simulate(
                Shedding(profile, limit, slots=machine.slots),
                partial(constant, load * capacity),
                60,
                {None: natural},
                machine=machine,
                seed=seed,
            )
            for load in (0.65, 1.3)
        )
        assert sum(reply.ceiling is not None for reply in calm) < 0.1 * len(calm)
        assert p95(crowd) <= limit
        answered += crowd
    off, full = work(0, machine, machine.slots), 1 / capacity
    assert right(answered) > (full / 1.3 - off) / (full - off) - 0.11


def two_families() -> tuple[dict[str | None, list[int]], ThinkingProfile]:
    """Thinking costs one family four times as much as the other, for the same gain."""
    natural: dict[str | None, list[int]] = {SHORT: lengths(12, 0.3, 3), LONG: lengths(48, 0.3, 4)}
    return natural, profile_of(natural, BUDGETS)


def test_the_family_that_gets_least_for_its_tokens_is_lowered_first() -> None:
    natural, profile = two_families()
    everything = [length for family in natural.values() for length in family]
    capacity = saturated(everything)
    shedding = Shedding(profile, target(), slots=SLOTS)
    replies = simulate(shedding, lambda time: 1.3 * capacity, 60, natural)
    lowered = {
        name: sum(r.ceiling is not None for r in replies if r.family == name) / len(replies)
        for name in (SHORT, LONG)
    }
    assert lowered[SHORT] < 0.01
    assert 0.1 < lowered[LONG] < 0.5
    assert p95([reply for reply in replies if reply.arrived > 10]) <= target()


def test_what_is_broken_off_is_forgotten() -> None:
    shedding = Shedding(PROFILE, 1.0, slots=SLOTS)
    for key in range(1000):
        shedding.enter(0.001 * key, key, None, None, None)
        shedding.leave(0.001 * key, key)
    for number in range(3000):  # nothing is owed, so nothing is lowered
        shedding.step(1 + 0.01 * number, tokens=1, outputs=1, started=0, unfinished=1, waiting=0)
    assert shedding.ceiling(60.0) is None
    assert shedding.running == 0
