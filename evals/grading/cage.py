"""Run a function on hostile input: in other processes, each call limited in time and memory.

The processes are started clean (not forked from this one, which may have threads), and can be used from any
thread, after a fork, and from asyncio through `asyncio.to_thread`. Arguments travel as pickles; results come
back as JSON, so nothing that has seen hostile input is unpickled here.
"""

import atexit
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from queue import LifoQueue
from typing import Any, Self

MAX_WORKERS = 256  # a place is one byte
_WORKER = "evals.grading.worker"
_ROOT = str(Path(__file__).parents[2])  # where it is found
# Importing sympy takes a second; many processes that start at once on few cores take longer.
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
# Secrets in the environment are none of a worker's business.
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")


class Outcome(StrEnum):
    """How a call ended: returned, ran out of time, ran out of memory, died, or raised."""

    DONE = "done"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASHED = "crashed"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CageResult:
    """The end of one call: its value when done (as JSON gives it back), else None and, maybe, a detail.

    seconds: wall-clock time in the worker, without the wait for one.
    """

    value: Any
    outcome: Outcome
    detail: str
    seconds: float


@dataclass(slots=True)
class _Place:
    """Where one worker stands; `connection` is None while there is no worker."""

    number: int
    connection: Connection | None = None


@dataclass(frozen=True, slots=True)
class _Template:
    process: subprocess.Popen[bytes]
    control: socket.socket


class Cage:
    """A pool of worker processes that run one function.

    Nothing starts before the first call, or `prepare`. A call that passes `seconds` (of wall-clock time in
    the worker, not counting the wait for a free one) is killed, and the worker replaced; so is a worker that
    dies.
    """

    def __init__(
        self, function: str, *, workers: int = 1, seconds: float = 2.0, memory_bytes: int = 1 << 30
    ) -> None:
        """`function`: `module:name` of a module's function; its result must be what JSON can hold.

        Raises ValueError for limits that allow nothing.
        """
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"workers: {workers} is out of range; give 1 to {MAX_WORKERS}")
        if not seconds > 0:
            raise ValueError(f"seconds: {seconds} leaves no time; give a number above 0")
        if memory_bytes < 1 << 27:
            raise ValueError(f"memory_bytes: {memory_bytes} does not hold Python; give at least {1 << 27}")
        if not all(function.partition(":")):
            raise ValueError(f"function: {function!r} is not module:name; give e.g. 'math:sqrt'")
        self.function = function
        self.seconds = seconds
        self._workers = workers
        self._memory_bytes = memory_bytes
        self._closed = False
        self._begin()
        _cages.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._template: _Template | None = None
        self._places = [_Place(number) for number in range(self._workers)]
        # Last in, first out: a busy worker is a warm one, and a pool used by one thread starts one.
        self._idle: LifoQueue[_Place] = LifoQueue()
        for place in reversed(self._places):
            self._idle.put(place)

    def prepare(self) -> None:
        """Begin to import the function, without waiting for it, so that a first call need not.

        Raises RuntimeError if the cage is closed.
        """
        with self._lock:
            self._running_template()

    def call(self, *arguments: Any, seconds: float | None = None) -> CageResult:
        """Run the function on picklable arguments, from any thread; blocks until its end.

        seconds: a limit for this call alone; the cage's own still holds.
        Raises RuntimeError if the cage is closed or its processes cannot start.
        """
        request = pickle.dumps(arguments)
        limit = self.seconds if seconds is None else min(seconds, self.seconds)
        place = self._idle.get()
        try:
            return self._run(place, request, limit)
        except BaseException:
            self._kill(place)  # or its answer would be taken for that of the next call
            raise
        finally:
            self._idle.put(place)

    def _run(self, place: _Place, request: bytes, seconds: float) -> CageResult:
        connection = self._connection(place)
        start = time.monotonic()
        try:
            connection.send_bytes(request)
            if not connection.poll(seconds):
                self._kill(place)
                return CageResult(None, Outcome.TIMEOUT, f"killed after {seconds:g} s", seconds)
            answer = json.loads(connection.recv_bytes())
        except (EOFError, ConnectionError):
            self._kill(place)
            return CageResult(None, Outcome.CRASHED, "the worker died", time.monotonic() - start)
        outcome, took = Outcome(answer["outcome"]), time.monotonic() - start
        result = CageResult(answer.get("value"), outcome, answer.get("detail", ""), took)
        if result.outcome is Outcome.MEMORY:
            self._kill(place)  # what it holds is unknown
        return result

    def _connection(self, place: _Place) -> Connection:
        """The connection of a living worker, a fresh one if need be."""
        if place.connection is not None:
            if not place.connection.poll(0):
                return place.connection
            self._kill(place)  # it died since its last answer
        ours, theirs = socket.socketpair()
        place.connection = Connection(ours.detach())
        with theirs, self._lock:
            template = self._running_template()
            with suppress(BrokenPipeError):  # it just died: the wait below ends at once
                socket.send_fds(template.control, [bytes([place.number])], [theirs.fileno()])
        try:
            if not place.connection.poll(_START_SECONDS):
                raise RuntimeError(f"{self.function}: no worker started within {_START_SECONDS:g} s")
            place.connection.recv_bytes()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"{self.function}: no worker could start: {_last_words(template)}") from error
        return place.connection

    def _kill(self, place: _Place) -> None:
        connection, place.connection = place.connection, None
        if connection is None:
            return
        connection.close()
        with self._lock:
            if self._template is not None and self._template.process.poll() is None:
                with suppress(BrokenPipeError):  # it died, and its workers with it
                    self._template.control.sendall(bytes([place.number]))

    def _running_template(self) -> _Template:
        if self._closed:
            raise RuntimeError(f"{self.function}: the cage is closed")
        if self._template is not None:
            if self._template.process.poll() is None:
                return self._template
            self._template.control.close()
        ours, theirs = socket.socketpair()
        path = json.dumps([os.path.abspath(entry) for entry in sys.path])
        arguments = [self.function, theirs.fileno(), os.getpid(), self.seconds, self._memory_bytes, path]
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environment["PYTHONPATH"] = _ROOT
        environment["OPENBLAS_NUM_THREADS"] = "1"  # a thread's stack counts as memory
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", _WORKER, *map(str, arguments)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the parent
            )
        self._template = _Template(process, ours)
        return self._template

    def close(self) -> None:
        """End the processes; a call under way in another thread ends as crashed. Twice is once."""
        with self._lock:
            self._closed = True
            template, self._template = self._template, None
        if template is not None:
            template.control.close()
            if all(place.connection is None for place in self._places):
                template.process.kill()  # no worker to end: it may still be importing
            try:
                template.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                template.process.kill()
                template.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _forget(self) -> None:
        """In a forked child: let go of the parent's processes; the next call starts others."""
        template, places = self._template, self._places
        self._begin()
        if template is not None:
            template.control.close()
            template.process.returncode = 0  # not this process's child: nothing to wait for
        for place in places:
            if place.connection is not None:
                place.connection.close()


def _last_words(template: _Template) -> str:
    template.control.settimeout(_STOP_SECONDS)
    try:
        return template.control.recv(1 << 16).decode() or "its process ended"
    except ConnectionError:
        return "its process died"


_cages: "weakref.WeakSet[Cage]" = weakref.WeakSet()
_shared: dict[tuple[str, float, int], Cage] = {}
_shared_lock = threading.Lock()


def shared_cage(function: str, *, seconds: float = 1.0, memory_bytes: int = 1 << 30) -> Cage:
    """The process's own cage for a function and limits: started at its first call, ended at exit."""
    with _shared_lock:
        key = (function, seconds, memory_bytes)
        if key not in _shared:
            workers = max(1, min(8, os.cpu_count() or 1))
            _shared[key] = Cage(function, workers=workers, seconds=seconds, memory_bytes=memory_bytes)
        return _shared[key]


def _close_all() -> None:
    for cage in list(_cages):
        cage.close()


def _after_fork_in_child() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    for cage in list(_cages):
        cage._forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork_in_child)
