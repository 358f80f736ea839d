"""The simulator: conservation, one request by hand, the order of loads, plans."""

import math
import random
from dataclasses import replace

import pytest

from evals.simulate.engine import Engine
from evals.simulate.plan import Load, Machine, capacity, fewest, latency, plan, under
from evals.simulate.requests import Limits, Outcome, Request
from evals.simulate.steps import LinearSteps
from evals.simulate.workload import Lengths, Lognormal, lognormal_lengths
from tests.evals.made_machine import FORM, PRICES, ROOMY, TIGHT


def mixed(count: int, rate: float, seed: int) -> list[Request]:
    draw = random.Random(seed)
    now, made = 0.0, []
    for _ in range(count):
        now += draw.expovariate(rate)
        lengths = draw.randint(1, 200), draw.randint(0, 200), draw.randint(1, 40)
        made.append(Request(now, *lengths, draw.choice([0, 8, 64, None])))
    return made


# -- the engine ----------------------------------------------------------------------------------------------


def test_one_request_alone_is_the_sum_of_its_steps() -> None:
    request = Request(3.0, prompt=600, thinking=10, answer=5)
    outcome = Engine(ROOMY, PRICES, FORM).run([request])
    first = PRICES.seconds(0, 0, 512, 0, 0) + PRICES.seconds(0, 0, 88, 1, 0)
    # 1 open + 10 + 1 close + 5; the first token comes with the prompt, and is then the context's last.
    rest = sum(PRICES.seconds(1, 600 + i, 0, 0, 0) for i in range(16))
    assert request.first_token == pytest.approx(3.0 + first)
    assert request.ended == pytest.approx(3.0 + first + rest)
    assert (outcome.made, outcome.computed, outcome.steps) == (17, 600, 18)
    assert outcome.peak_blocks == math.ceil(616 / 16)


def test_a_cut_costs_a_look_past_the_budget_and_the_text_in_a_cached_prefix() -> None:
    request = Request(0.0, prompt=30, thinking=100, answer=5, budget=20)
    outcome = Engine(ROOMY, PRICES, FORM).run([request])
    thinking = PRICES.seconds(0, 0, 30, 1, 0) + sum(PRICES.seconds(1, 30 + i, 0, 0, 0) for i in range(21))
    # 51 tokens are cached, 48 of them in whole blocks.
    answer = PRICES.seconds(0, 0, 3 + 27, 1, 1) + sum(PRICES.seconds(1, 78 + i, 0, 0, 0) for i in range(4))
    assert request.ended == pytest.approx(thinking + answer)
    assert (outcome.made, outcome.streamed) == (1 + 20 + 1 + 5, 1 + 20 + 27 + 5)
    equal = Request(0.0, prompt=30, thinking=20, answer=5, budget=20)
    assert not equal.cut
    assert Engine(ROOMY, PRICES, FORM).run([equal]).computed == 30
    off = Engine(ROOMY, PRICES, FORM).run([Request(0.0, 30, 100, 5, budget=0)])
    assert (off.made, off.computed) == (5, 34)


@pytest.mark.parametrize("limits", [ROOMY, TIGHT, replace(TIGHT, block_size=1, kv_blocks=640)])
@pytest.mark.parametrize("seed", range(4))
def test_all_end_tokens_add_up_and_the_cache_is_never_overfull(limits: Limits, seed: int) -> None:
    requests = mixed(150, rate=8.0, seed=seed)
    engine = Engine(limits, PRICES, FORM)
    outcome = engine.run(requests)
    expected = 0
    for request in requests:
        assert request.arrived < request.first_token <= request.ended
        if request.budget == 0:
            tokens = request.answer
        elif request.cut:
            tokens = 1 + request.tokens + 1 + request.answer
        else:
            tokens = 1 + request.thinking + 1 + request.answer
        assert request.made == tokens
        expected += tokens
    assert outcome.made == expected
    assert 0 < outcome.peak_blocks <= limits.kv_blocks
    assert (engine._blocks, engine._context, sum(engine._growing)) == (0, 0, 0)
    assert outcome.computed >= sum(request.prompt for request in requests)
    assert (outcome.restarts > 0) == (limits is not ROOMY)
    assert outcome.mean_running <= limits.max_num_seqs


class OneByOne(Engine):
    """Every step for itself."""

    def _unchanged(self, gap: float) -> int:
        return 1


@pytest.mark.parametrize("limits", [ROOMY, TIGHT])
def test_a_stretch_of_steps_is_its_steps(limits: Limits) -> None:
    fast, slow = mixed(120, 4.0, seed=5), mixed(120, 4.0, seed=5)
    one, other = Engine(limits, PRICES, FORM).run(fast), OneByOne(limits, PRICES, FORM).run(slow)
    assert [it.ended for it in fast] == pytest.approx([it.ended for it in slow])
    assert (one.steps, one.peak_blocks, one.restarts) == (other.steps, other.peak_blocks, other.restarts)
    assert one.mean_running == pytest.approx(other.mean_running)


def test_the_same_requests_have_the_same_fate() -> None:
    one, other = mixed(100, 5.0, seed=1), mixed(100, 5.0, seed=1)
    Engine(TIGHT, PRICES, FORM).run(one)
    Engine(TIGHT, PRICES, FORM).run(other)
    assert [it.ended for it in one] == [it.ended for it in other]


def test_what_no_cache_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="kv_blocks: 40 blocks of 16 tokens are wrong because one request"):
        Engine(TIGHT, PRICES, FORM).run([Request(0.0, 100, 5000, 10)])


def test_requests_in_flight_are_kept_at_their_number() -> None:
    requests = [Request(0.0, 16, 20, 8) for _ in range(40)]
    Engine(ROOMY, PRICES, FORM).run(requests, in_flight=4)
    for moment in sorted(request.arrived for request in requests):
        assert sum(it.arrived <= moment < it.ended for it in requests) <= 4
    assert max(it.arrived for it in requests) > 0


# -- plans ---------------------------------------------------------------------------------------------------


def machine(limits: Limits = ROOMY) -> Machine:
    return Machine(limits, PRICES, FORM, kv_bytes=1000.0)


LENGTHS = lognormal_lengths(Lognormal(50, 0.5), Lognormal(60, 0.8), Lognormal(20, 0.3), 500, seed=0)


@pytest.mark.parametrize("budget", [0, 32, None])
def test_more_load_is_never_faster(budget: int | None) -> None:
    load = Load(LENGTHS, rate=1.0, count=600)
    outcomes = [under(rate, budget, load, machine()) for rate in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)]
    for quantile in (0.5, 0.95):
        seconds = [latency(outcome.requests, quantile) for outcome in outcomes]
        assert seconds == sorted(seconds)
    tokens = [outcome.made for outcome in outcomes]
    assert len(set(tokens)) == 1, "the same replies at every rate"


def test_capacity_in_closed_form() -> None:
    flat = LinearSteps(step=0.01, token=0.001, context=0, prefill=0, started=0, resumed=0)
    limits = replace(ROOMY, max_num_seqs=8, max_batched_tokens=10_000)
    load = Load([Lengths(16, 80, 18)], rate=1.0, count=2000)
    # 100 tokens a reply, 8 at a time, each step 0.018 s; a reply is taken in where another has ended.
    found = capacity(None, load, Machine(limits, flat, FORM, 1.0))
    assert found == pytest.approx(8 / (100 * 0.018), rel=0.03)


def test_replicas_are_the_fewest() -> None:
    for least, answer in ((1, 1), (1, 2), (1, 37), (5, 5), (5, 6), (3, 4096)):
        asked: list[int] = []

        def fits(count: int, answer: int = answer, asked: list[int] = asked) -> bool:
            asked.append(count)
            return count >= answer

        assert fewest(fits, least) == max(least, answer)
        assert len(asked) < 30
    load = Load(LENGTHS, rate=12.0, count=400, target=4.0)
    (row,) = plan([None], load, machine())
    assert row.replicas is not None
    assert row.replicas > 1
    assert row.latency_p95 <= 4.0
    few = plan([None], load, machine(), replicas=row.replicas - 1)[0]
    assert few.latency_p95 > 4.0 or few.rate >= few.capacity
    assert plan([None], replace(load, target=0.01), machine())[0].replicas is None


def test_a_smaller_budget_needs_no_more_of_anything() -> None:
    rows = plan([0, 16, 64, None], Load(LENGTHS, rate=8.0, count=400, target=6.0), machine())
    replicas = [row.replicas for row in rows]
    assert None not in replicas
    assert [row.capacity for row in rows] == sorted((row.capacity for row in rows), reverse=True)
    assert [row.thinking_tokens for row in rows] == sorted(row.thinking_tokens for row in rows)
    assert rows[0].cut == rows[-1].cut == 0 < rows[2].cut < rows[1].cut
    assert rows[-1].as_dict()["budget"] == "max"


def test_outcomes_hold_their_requests() -> None:
    outcome: Outcome = Engine(ROOMY, PRICES, FORM).run([])
    assert (outcome.made, outcome.seconds, outcome.steps) == (0, 0.0, 0)
