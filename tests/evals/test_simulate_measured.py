"""Step times of the shared server: its counters say what was asked, and the simulator comes near it."""

import pytest

from evals.bench.simulate import Subject, learn, run_loads
from evals.simulate.measure import Burst, bursts, cache_config, counters, measure_steps, thinking_format
from serve.launch import RunningServer


@pytest.mark.slow
def test_measured_steps_predict_other_loads(server: RunningServer) -> None:
    sizes, long = (1, 8), 40
    before = counters(server.base_url)
    measured = measure_steps(server.base_url, sizes, long, rounds=1)
    asked = bursts(sizes, long)
    assert len(measured.rows) == len(asked)
    stop = len(thinking_format(server.base_url)["stop_ids"])
    for burst in asked:
        rows = [row for row in measured.rows if row.tokens == row.started * _tokens(burst)]
        assert rows, burst
        for row in rows:
            assert row.steps >= burst.tokens
            assert row.seconds > 0
    cut = [row for row in measured.rows if row.resumed]
    assert sorted(row.resumed for row in cut) == [1, 8]
    assert all(row.prefill >= stop * row.resumed for row in cut)
    done = counters(server.base_url)
    assert all(done[name] > before[name] for name in done)
    assert measured.limits["block_size"] == int(cache_config(server.base_url)["block_size"])

    learned = learn(server, limit=24)
    assert len(learned.texts) > 20
    subject = Subject.of(server, measured)
    (run,) = run_loads(subject, learned, 24, seed=0, budgets=(16,), at_once=(6,), shares=())
    assert (run.load, run.budget) == ("6 at once", 16)
    predicted, real = run.predicted, run.measured
    # Lengths are known, but for answers after a cut; times are those of a machine that others use too.
    tokens = predicted["tokens_per_second"] / predicted["replies_per_second"]
    assert abs(tokens / (real["tokens_per_second"] / real["replies_per_second"]) - 1) < 0.1
    for name in ("tokens_per_second", "p50"):
        assert 0.2 < predicted[name] / real[name] < 5


def _tokens(burst: Burst) -> float:
    """That a burst's requests make each: two more where a budget is looked past and the open tag is made."""
    return burst.tokens if burst.budget is None else burst.tokens + burst.budget + 2
