"""The benchmark's instruments: the load generator on the real server, measures and intervals by hand."""

import asyncio
import json
import random
from statistics import NormalDist
from typing import Any

import pytest

from serve.bench.load import Reply, read_reply, run_load
from serve.bench.measures import Comparison, Measures, measure, median_interval, table
from serve.bench.servers import without
from serve.bench.throughput import chat_body
from serve.launch import RunningServer
from tests.serve.conftest import Server

STOP = (7, 8, 9)


def reply(tokens: list[tuple[int, ...]], times: list[float], sent: float = 0.0) -> Reply:
    ended = times[-1]
    return Reply(sent, ended, sum(map(len, tokens)), tuple(times), tuple(tokens), "length")


async def test_every_reply_is_cut_and_has_its_length(server: RunningServer, ask: Server) -> None:
    draw = random.Random(0)
    lengths = [60, 70, 80, 90, 100, 110]
    bodies = [
        chat_body(draw, server.model, length)
        | {
            "thinking_token_budget": 20,
            "logit_bias": {str(ask.close_id): -100},
            "return_token_ids": True,
        }
        for length in lengths
    ]
    # In a thread, as it has an event loop of its own.
    replies = await asyncio.to_thread(run_load, server.base_url, bodies, 4)
    assert [r.completion_tokens for r in replies] == lengths
    for got in replies:
        ids = [token for event in got.token_ids for token in event]
        assert ids[21 : 21 + len(ask.stop_ids)] == ask.stop_ids
        assert 0 < got.first_token_seconds < got.wait_for_answer(ask.stop_ids) + got.ended - got.sent
        assert got.finish_reason == "length"
        assert list(got.times) == sorted(got.times)
        assert sum(got.gaps) <= got.ended - got.sent
    measured = measure(replies, 1.0, ask.stop_ids)
    useful = sum(lengths) - len(lengths) * len(ask.stop_ids)
    seconds = max(r.ended for r in replies) - min(r.sent for r in replies)
    assert measured.tokens_per_second == pytest.approx(useful / seconds)
    assert measured.cpu_ms_per_token == pytest.approx(1000 / useful)
    assert measured.cut_ms is not None
    assert measured.cut_ms > 0


async def test_an_error_is_not_a_reply(server: RunningServer) -> None:
    body = {"model": server.model, "messages": [{"role": "user", "content": "?"}], "thinking_budget": -9}
    with pytest.raises(RuntimeError, match="thinking_budget"):
        await asyncio.to_thread(run_load, server.base_url, [body], 1)


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
def test_a_response_is_read_however_its_bytes_come(size: int) -> None:
    payloads: list[dict[str, Any]] = [
        {"choices": [{"token_ids": None, "finish_reason": None}]},
        {"choices": [{"token_ids": [1, 2], "finish_reason": None}]},
        {"choices": [{"token_ids": [3], "finish_reason": "length"}]},
        {"choices": [], "usage": {"completion_tokens": 3, "prompt_tokens": 7}},
    ]
    events = [f"data: {json.dumps(payload)}\n\n".encode() for payload in payloads] + [b"data: [DONE]\n\n"]
    raw = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    ends = []
    for event in events:
        raw += b"%x\r\n%s\r\n" % (len(event), event)
        ends.append(len(raw))
    raw += b"0\r\n\r\n"
    pieces = [(float(at), raw[at : at + size]) for at in range(0, len(raw), size)]
    got = read_reply(-1.0, pieces)
    assert got.times == tuple(float((end - 1) // size * size) for end in ends[:3])
    assert got.token_ids == ((), (1, 2), (3,))
    assert (got.completion_tokens, got.finish_reason, got.ended) == (3, "length", pieces[-1][0])


def test_waiting_for_the_answer() -> None:
    whole = [(1,), (2,), (2, *STOP), (5,), ()]
    assert reply(whole, [1, 2, 3, 7, 8]).wait_for_answer(STOP) == 4
    # Forced token by token, the wait begins at the last token before them.
    assert reply([(1,), (2,), (7,), (8,), (9,), (5,)], [1, 2, 3, 4, 5, 6]).wait_for_answer(STOP) == 4
    for wrong in ([(1,), (5,)], [STOP, (5,)], [(1,), STOP], [(1,), STOP, STOP, (5,)]):
        with pytest.raises(ValueError, match="early-stop text"):
            reply(wrong, [float(i) for i in range(len(wrong))]).wait_for_answer(STOP)


def test_measures_by_hand() -> None:
    replies = [
        reply([(1,), (2, *STOP), (5,), (6,), ()], [1.0, 2.0, 5.0, 6.0, 6.0]),
        reply([(1,), (2, *STOP), (5,), (6,), ()], [3.0, 4.0, 6.0, 7.0, 8.0], sent=1.0),
    ]
    found = measure(replies, cpu_seconds=0.4, stop_ids=STOP)
    assert found.tokens_per_second == pytest.approx(8 / 8.0)
    assert found.ttft_ms == pytest.approx(1500)
    assert found.step_ms == pytest.approx(1000)
    assert found.cpu_ms_per_token == pytest.approx(50)
    assert found.cut_ms == pytest.approx(2500)
    assert found.cut_steps == pytest.approx(2.5)
    plain = measure(replies, cpu_seconds=0.4, stop_ids=None)
    assert (plain.cut_ms, plain.tokens_per_second) == (None, pytest.approx(14 / 8.0))


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    draw = random.Random(0)
    normal = NormalDist(3, 1)
    for n in (3, 6, 12, 25):
        trials = [median_interval([normal.inv_cdf(draw.random()) for _ in range(n)]) for _ in range(2000)]
        held = sum(t.low <= 3 <= t.high for t in trials) / len(trials)
        assert held == pytest.approx(trials[0].confidence, abs=0.03)
        assert (trials[0].confidence >= 0.95) == (n >= 6)
    only = median_interval([2.0, 1.0, 4.0])
    assert (only.median, only.low, only.high, only.confidence) == (2.0, 1.0, 4.0, 0.75)


def test_a_comparison_pairs_rounds() -> None:
    def measures(speed: float, ttft: float, cut: float | None = None) -> Measures:
        return Measures(speed, ttft, 2.0, 0.5, cut)

    speeds = [(100, 110), (50, 45), (10, 10)]
    rounds = tuple((measures(theirs, 10.0), measures(ours, 11.0, 6.0)) for theirs, ours in speeds)
    comparison = Comparison("them", "us", 16, rounds)
    assert comparison.speed.median == pytest.approx(1.0)
    assert (comparison.speed.low, comparison.speed.high) == (pytest.approx(0.9), pytest.approx(1.1))
    assert comparison.added_ttft_ms.median == pytest.approx(1.0)
    _, _, first, second = table([comparison]).splitlines()
    assert first == "| 16 | them | 50 |  | 10.00 |  | 2.00 |  |  | 0.500 |  |"
    ratio, added = "1.000 [0.900, 1.100]", "1.00 [1.00, 1.00]"
    assert second.startswith(f"| 16 | us | 45 | {ratio} | 11.00 | {added} | 2.00 | 6.00 | 3.0 |")
    assert comparison.as_dict()["candidate"]["cut_steps"] == 3.0


def test_flags_of_ours_only_are_taken_out_with_their_values() -> None:
    arguments = ["--model", "m", "--scheduling-policy", "priority", "--enforce-eager", "--worker-cls", "x.Y"]
    assert without(arguments, ("--scheduling-policy", "--worker-cls")) == ["--model", "m", "--enforce-eager"]
