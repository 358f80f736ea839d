"""The cage: limits that hold, workers that are replaced, nothing left behind."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evals.grading.cage import Cage, Outcome, shared_cage

ACT = "cage_tasks:act"
# Grace for starting and killing on a machine that is busy with other things.
GRACE = 1.0
MEMORY = 1 << 28
LONG = "x" * 1_000_000


@pytest.fixture
def cage() -> Iterator[Cage]:
    with Cage(ACT, seconds=0.3, memory_bytes=MEMORY) as cage:
        assert cage.call("echo", 1).value == 1
        yield cage


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def running(process: int) -> bool:
    """Whether the process runs: a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("value", [None, 7, 0.5, "ä\0\ud800", [1, [2]], {"a": [True]}, LONG])
def test_values_come_back(cage: Cage, value: object) -> None:
    result = cage.call("echo", value)
    assert (result.value, result.outcome) == (value, Outcome.DONE)


@pytest.mark.parametrize("what", ["spin", "one long C call", "sleep"])
def test_what_takes_too_long_is_killed(cage: Cage, what: str) -> None:
    process = cage.call("processes").value[0]
    start = time.monotonic()
    result = cage.call(what, 60)
    assert (result.value, result.outcome) == (None, Outcome.TIMEOUT)
    assert 0.3 <= time.monotonic() - start < 0.3 + GRACE
    assert wait_until(lambda: not running(process))
    start = time.monotonic()
    assert cage.call("echo", 2).value == 2
    assert time.monotonic() - start < GRACE


def test_a_call_may_have_less_time() -> None:
    with Cage(ACT, seconds=0.3) as cage:
        assert cage.call("echo", 1, seconds=60).value == 1
        for seconds, held in ((0.05, "0.05"), (60, "0.3")):
            assert cage.call("sleep", 60, seconds=seconds).detail == f"killed after {held} s"


def test_time_is_that_of_the_worker_without_its_start() -> None:
    with Cage("slow_import:double", seconds=0.3) as cage:
        result = cage.call(2)  # the import takes longer than a call may
    assert (result.value, result.seconds < 0.3) == (4, True)


def test_a_prepared_cage_does_not_wait_for_its_import() -> None:
    start = time.monotonic()
    with Cage("slow_import:double") as cage:
        cage.prepare()
    assert time.monotonic() - start < 0.5  # neither to begin it nor to end


@pytest.mark.parametrize(("what", "size"), [("hog", MEMORY * 2), ("hog in C", MEMORY * 16)])
def test_memory_is_limited(cage: Cage, what: str, size: int) -> None:
    assert cage.call(what, size).outcome is Outcome.MEMORY
    assert cage.call("echo", 2).value == 2


@pytest.mark.parametrize("what", ["exit", "segfault"])
def test_a_dead_worker_is_replaced(cage: Cage, what: str) -> None:
    assert cage.call(what).outcome is Outcome.CRASHED
    assert cage.call("echo", 2).value == 2


def test_a_worker_that_dies_idle_costs_no_call(cage: Cage) -> None:
    process = cage.call("processes").value[0]
    os.kill(process, signal.SIGKILL)
    assert wait_until(lambda: not running(process))
    assert cage.call("echo", 2).value == 2


def test_a_dead_template_is_replaced(cage: Cage) -> None:
    worker, template = cage.call("processes").value
    os.kill(template, signal.SIGKILL)
    assert wait_until(lambda: not running(worker)), "a worker outlived its template"
    assert cage.call("echo", 2).value == 2


@pytest.mark.parametrize(
    ("what", "value", "detail"),
    [
        ("raise", "oh", "ValueError: oh"),
        ("recurse", None, "RecursionError"),
        ("unspeakable", None, "TypeError"),
        ("power of ten", 5000, "ValueError"),  # more digits than Python writes
        ("blanks", 1 << 24, "ValueError"),
    ],
)
def test_errors_are_told(cage: Cage, what: str, value: object, detail: str) -> None:
    process = cage.call("processes").value[0]
    result = cage.call(what, value)
    assert (result.value, result.outcome) == (None, Outcome.ERROR)
    assert result.detail.startswith(detail)
    assert cage.call("processes").value[0] == process


def test_noise_is_dropped(cage: Cage, capfd: pytest.CaptureFixture[str]) -> None:
    assert cage.call("noise", 5).value == 5
    assert cage.call("echo", 6).value == 6
    assert capfd.readouterr() == ("", "")


def test_a_worker_has_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    with (tmp_path / "open").open("w") as open_file, Cage(ACT) as cage:
        os.set_inheritable(open_file.fileno(), True)
        files = cage.call("open files").value
        assert files[:3] == ["/dev/null"] * 3
        assert len(files) <= 5, "more than its socket and the listing itself"
        assert "SOME_API_KEY" not in cage.call("environment").value
        written = tmp_path / "written"
        assert cage.call("write", str(written)).outcome is Outcome.ERROR
        assert not written.exists() or not written.read_text()


def test_many_threads() -> None:
    with Cage(ACT, workers=3, seconds=5) as cage, ThreadPoolExecutor(32) as threads:
        results = list(threads.map(lambda n: cage.call("echo", n).value, range(2000)))
        assert results == list(range(2000))
        assert len({cage.call("processes").value[1] for _ in range(5)}) == 1, "one template a cage"


def test_threads_are_killed_apart() -> None:
    def task(n: int) -> tuple[Outcome, object]:
        result = cage.call("spin" if n % 8 == 0 else "echo", n)
        return result.outcome, result.value

    with Cage(ACT, workers=4, seconds=0.2) as cage, ThreadPoolExecutor(32) as threads:
        for n, (outcome, value) in enumerate(threads.map(task, range(64))):
            expected = (Outcome.TIMEOUT, None) if n % 8 == 0 else (Outcome.DONE, n)
            assert (outcome, value) == expected


def test_a_worker_outlives_the_thread_that_started_it(cage: Cage) -> None:
    processes: list[list[int]] = []
    with Cage(ACT) as other:
        thread = threading.Thread(target=lambda: processes.append(other.call("processes").value))
        thread.start()
        thread.join()
        time.sleep(0.1)
        assert other.call("processes").value == processes[0]


async def test_asyncio() -> None:
    with Cage(ACT, workers=2, seconds=0.5) as cage:
        calls = [asyncio.to_thread(cage.call, "sleep", 60)]
        calls += [asyncio.to_thread(cage.call, "echo", n) for n in range(50)]
        killed, *echoes = await asyncio.gather(*calls)
    assert killed.outcome is Outcome.TIMEOUT
    assert [echo.value for echo in echoes] == list(range(50))


def _in_child(cage: Cage, queue: "multiprocessing.SimpleQueue[list[int]]") -> None:
    queue.put(cage.call("processes").value)


def test_a_forked_child_has_workers_of_its_own(cage: Cage) -> None:
    parents = cage.call("processes").value
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(cage, queue))
    child.start()
    theirs = queue.get()
    child.join()
    assert not set(theirs) & set(parents)
    assert cage.call("processes").value == parents
    assert wait_until(lambda: not any(map(running, theirs)))


def test_closing_ends_the_processes() -> None:
    cage = Cage(ACT)
    processes = cage.call("processes").value
    cage.close()
    cage.close()
    assert not any(map(running, processes))
    with pytest.raises(RuntimeError, match="closed"):
        cage.call("echo", 1)


def test_no_file_stays_open() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with Cage(ACT, workers=3, seconds=0.05) as cage, ThreadPoolExecutor(3) as threads:
        calls = ["spin", "exit", "echo", "segfault"] * 6
        assert {result.outcome for result in threads.map(cage.call, calls)} == {
            Outcome.TIMEOUT,
            Outcome.CRASHED,
            Outcome.DONE,
        }
    del cage  # the connections of its living workers
    assert sorted(os.listdir("/proc/self/fd")) == before


PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from evals.grading.cage import shared_cage
cage = shared_cage("cage_tasks:act", seconds=600)
print(*cage.call("processes").value, flush=True)
if sys.argv[2] == "exit":
    sys.exit()
cage.call(sys.argv[2], 600)
"""


def _parent(what: str) -> tuple["subprocess.Popen[str]", list[int]]:
    command = [sys.executable, "-c", PARENT, str(Path(__file__).parent), what]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    assert parent.stdout is not None
    return parent, [int(process) for process in parent.stdout.readline().split()]


@pytest.mark.parametrize("what", ["sleep", "spin", "one long C call"])
def test_workers_die_with_a_killed_parent(what: str) -> None:
    parent, processes = _parent(what)
    time.sleep(0.2)
    assert len(processes) == 2
    assert all(map(running, processes))
    parent.kill()
    parent.communicate()
    assert wait_until(lambda: not any(map(running, processes)))


def test_workers_end_with_their_parent() -> None:
    parent, processes = _parent("exit")
    parent.communicate(timeout=20)
    assert parent.returncode == 0
    assert len(processes) == 2
    assert wait_until(lambda: not any(map(running, processes)))


def test_an_interrupted_call_leaves_no_answer_behind() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Cage(ACT, seconds=30) as cage:
            cage.call("echo", 1)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                cage.call("sleep", 0.3)
            time.sleep(0.4)
            assert cage.call("echo", 2).value == 2
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_cannot_be_imported_is_named() -> None:
    with (
        Cage("no_such_module:act") as cage,
        pytest.raises(RuntimeError, match="No module named 'no_such_module'"),
    ):
        cage.call()


def test_shared_cages_are_shared() -> None:
    assert shared_cage(ACT) is shared_cage(ACT)
    assert shared_cage(ACT) is not shared_cage(ACT, seconds=3)


@pytest.mark.parametrize(
    ("field", "limits"),
    [
        ("workers", {"workers": 0}),
        ("workers", {"workers": 257}),
        ("seconds", {"seconds": 0}),
        ("seconds", {"seconds": float("nan")}),
        ("memory_bytes", {"memory_bytes": 1 << 20}),
        ("function", {"function": "act"}),
    ],
)
def test_limits_that_allow_nothing(field: str, limits: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Cage(**{"function": ACT, **limits})  # type: ignore[arg-type]
