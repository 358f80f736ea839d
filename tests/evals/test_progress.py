"""Progress lines: what is done, how fast, what is in flight and lost, and how long it will take."""

import io
import re
import time

from evals.sweep.endpoint import Endpoint
from evals.sweep.endpoints import Endpoints
from evals.sweep.progress import Progress


def endpoints() -> Endpoints:
    return Endpoints(Endpoint("m", None, None), [], retries=0)


def test_lines() -> None:
    stream, servers = io.StringIO(), endpoints()
    with Progress(10, 2, servers, stream, seconds=0.0) as progress:
        assert stream.getvalue() == "resuming: 2 of 10 already stored\n"
        servers.retried = 3
        progress.points(4, 1)
        progress.reply(50)
        servers.on_left("http://dead")
        progress.unit(50)
    lines = stream.getvalue().splitlines()
    assert "http://dead is left: it failed again and again" in lines
    assert re.fullmatch(
        r"3/10 \(30 %\)  1 replies  \d+ generated tokens/s  0 in flight  3 retries  25 % cut  "
        r"00:00 elapsed, 0\d:\d\d left",
        lines[-1],
    )


def test_time_left_follows_the_work_left() -> None:
    """Nine units like the finished one are to come, of which half of one is done: 8.5 times as long."""
    stream = io.StringIO()
    progress = Progress(10, 0, endpoints(), stream, seconds=0.0)
    progress._started = time.monotonic() - 15
    progress.reply(100)
    assert "--:-- left" in stream.getvalue()
    progress.unit(100)
    progress.reply(50)
    assert "01:25 left" in stream.getvalue().splitlines()[-1]


def test_nothing_is_written_between() -> None:
    stream = io.StringIO()
    with Progress(10, 0, endpoints(), stream, seconds=60.0) as progress:
        for _ in range(5):
            progress.reply(1)
        assert stream.getvalue() == ""
    assert stream.getvalue().count("\n") == 1
