"""Several servers and failing ones: requests are retried, work moves on, and every reply is stored once."""

import itertools
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from scripted_api import Failing, ScriptedAPI

from clients import APIError
from evals.store import SAMPLES, iter_records, read_records
from evals.sweep.presets import PRESETS
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve.launch import RunningServer

LIMIT = 12


def settings(out: Path, **fields: Any) -> SweepSettings:
    fields = {"limit": LIMIT, "concurrency": 4, **fields}
    return SweepSettings("thinkmath", out, ("off", "on"), mode="direct", sampling=PRESETS["server"], **fields)


def assert_each_once(out: Path) -> None:
    keys = [json.loads(line)["key"] for line in (out / SAMPLES).read_bytes().splitlines()]
    assert len(keys) == len(set(keys)) == 2 * LIMIT


def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    """Every third request fails; the replies are all there, once, and the attempts are counted."""
    statuses = itertools.cycle((0, 408, 409, 425, 429, 500, 503))
    with ScriptedAPI(lambda body, number: Failing(next(statuses)) if number % 3 == 0 else None) as api:
        result = run_sweep(settings(tmp_path), api.base_url)
    assert_each_once(tmp_path)
    records = list(iter_records(tmp_path))
    assert sum(r.attempts for r in records) == len(api.bodies) > 2 * LIMIT
    assert api.answered == 2 * LIMIT
    assert result.account["attempts"] == len(api.bodies)
    asked = Counter(json.dumps(body, sort_keys=True) for body in api.bodies)
    assert sorted(asked.values()) == sorted(r.attempts for r in records)


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    times: list[float] = []

    def script(body: dict[str, Any], number: int) -> Failing | None:
        times.append(time.monotonic())
        return Failing(429, {"retry-after": "2"}) if number == 0 else None

    with ScriptedAPI(script) as api:
        run_sweep(settings(tmp_path, limit=1, concurrency=1), api.base_url)
    assert times[1] - times[0] >= 2


def test_servers_that_all_ask_to_wait_are_waited_for(tmp_path: Path) -> None:
    """Two servers are busy for a second and say so: no attempt is wasted on asking them meanwhile."""
    started = time.monotonic()

    def busy(body: dict[str, Any], number: int) -> Failing | None:
        return Failing(429, {"retry-after": "1"}) if time.monotonic() < started + 1 else None

    with ScriptedAPI(busy) as one, ScriptedAPI(busy) as two:
        run_sweep(settings(tmp_path, retries=2), [one.base_url, two.base_url])
    assert_each_once(tmp_path)


def test_a_hiccup_does_not_cost_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All requests in flight fail at once, as when a server restarts: it is asked again."""

    def hiccup(body: dict[str, Any], number: int) -> Failing | None:
        return Failing(0) if 4 <= number < 8 else None

    restarting = ScriptedAPI(hiccup, seconds=0.1)
    with ScriptedAPI(seconds=0.1) as steady, restarting:
        run_sweep(settings(tmp_path, limit=60, concurrency=8), [restarting.base_url, steady.base_url])
    assert len(read_records(tmp_path)[0]) == 120
    assert restarting.answered > 8
    assert "is left" not in capsys.readouterr().err


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_will_not_pass_ends_the_sweep_at_once(status: int, tmp_path: Path) -> None:
    with (
        ScriptedAPI(lambda body, number: Failing(status) if number >= 5 else None) as api,
        pytest.raises(APIError, match=str(status)),
    ):
        run_sweep(settings(tmp_path, concurrency=1), api.base_url)
    assert len(api.bodies) <= 7
    assert len(read_records(tmp_path)[0]) == 5


def test_a_sweep_whose_attempts_all_failed_can_be_resumed(tmp_path: Path) -> None:
    with (
        ScriptedAPI(lambda body, number: Failing(500) if number >= 6 else None) as api,
        pytest.raises(APIError, match="HTTP 500: scripted"),
    ):
        run_sweep(settings(tmp_path, retries=1), api.base_url)
    assert len(read_records(tmp_path)[0]) == 6
    with ScriptedAPI() as api:
        assert run_sweep(settings(tmp_path), api.base_url).replies == 2 * LIMIT - 6
    assert_each_once(tmp_path)


def test_refused_requests_are_noted_and_not_retried(tmp_path: Path) -> None:
    with ScriptedAPI(lambda body, number: Failing(400) if number == 3 else None) as api:
        result = run_sweep(settings(tmp_path), api.base_url)
    assert len(api.bodies) == 2 * LIMIT
    assert [failure.error for failure in result.failures] == ["HTTP 400: scripted"]


def test_servers_share_the_work(tmp_path: Path) -> None:
    """The least busy is asked: a server that takes three times as long gets less."""
    with ScriptedAPI(seconds=0.02) as quick, ScriptedAPI(seconds=0.06) as slow:
        run_sweep(settings(tmp_path), [quick.base_url, slow.base_url])
    assert_each_once(tmp_path)
    assert quick.answered + slow.answered == 2 * LIMIT
    assert quick.answered > slow.answered > 0
    assert quick.most_at_once + slow.most_at_once <= 6
    who = Counter(r.endpoint for r in iter_records(tmp_path))
    assert who == {quick.base_url: quick.answered, slow.base_url: slow.answered}


@pytest.mark.parametrize("status", [0, 500])
def test_a_dead_server_is_left(status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of two dies after four replies: its work moves, and it is not asked for long."""
    dying = ScriptedAPI(lambda body, number: Failing(status) if number >= 4 else None, seconds=0.1)
    with ScriptedAPI(seconds=0.1) as healthy, dying:
        run_sweep(settings(tmp_path, limit=60), [dying.base_url, healthy.base_url])
    assert len(read_records(tmp_path)[0]) == 120
    assert (dying.answered, healthy.answered) == (4, 116)
    assert len(dying.bodies) <= 4 + 3 + 4
    assert f"{dying.base_url} is left" in capsys.readouterr().err


def test_a_sweep_fails_when_no_server_is_left(tmp_path: Path) -> None:
    def dies(body: dict[str, Any], number: int) -> Failing | None:
        return Failing(0) if number >= 3 else None

    with (
        ScriptedAPI(dies) as one,
        ScriptedAPI(dies) as two,
        pytest.raises(httpx.TransportError),
    ):
        run_sweep(settings(tmp_path, retries=3), [one.base_url, two.base_url])
    assert len(read_records(tmp_path)[0]) == 6


def test_servers_must_serve_the_same(server: RunningServer, tmp_path: Path) -> None:
    with ScriptedAPI() as one, ScriptedAPI(model="other") as two:
        with pytest.raises(ValueError, match=r"differ in model: 'm' and 'other'"):
            run_sweep(settings(tmp_path), [one.base_url, two.base_url])
        with pytest.raises(ValueError, match=r"model: 'm' is not served at .* it serves other"):
            run_sweep(settings(tmp_path), [one.base_url, two.base_url], model="m")
        with pytest.raises(ValueError, match="differ in model"):
            run_sweep(settings(tmp_path), [server.base_url, one.base_url])
        assert not one.bodies
