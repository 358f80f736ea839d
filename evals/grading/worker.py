"""The far side of the cage: a template process that imports a function once and forks workers from itself.

    python -m evals.grading.worker MODULE:FUNCTION CONTROL_FD PARENT_PID SECONDS MEMORY_BYTES SYS_PATH

The template runs no task and stays single-threaded, so forking it is safe, and a killed worker is replaced
in milliseconds instead of after another import of sympy. An order is a byte on a socket, a worker's place:
kill the worker there, and fork another if a socket for it is attached. The template ends, workers first, when
its own socket closes or its parent is gone; a worker ends with the template.
"""

import ctypes
import gc
import importlib
import json
import math
import os
import pickle
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

MAX_ANSWER_BYTES = 1 << 24
_PR_SET_PDEATHSIG = 1
# How often the template looks whether its parent lives, should a copy of the socket keep it open.
_ORPHAN_CHECK_SECONDS = 2.0

Function = Callable[..., Any]


def main() -> int:
    """Obey orders until the parent goes; 1 if the function cannot be imported (the socket says why)."""
    name, control_fd, parent, seconds, memory_bytes, path = sys.argv[1:]
    sys.path[:] = json.loads(path)
    control = socket.socket(fileno=int(control_fd))
    try:
        module, _, attribute = name.partition(":")
        function: Function = getattr(importlib.import_module(module), attribute)
    except Exception:
        control.sendall(traceback.format_exc().encode())
        return 1
    sys.dont_write_bytecode = True  # a worker may write no file
    gc.freeze()
    workers: dict[int, int] = {}
    control.settimeout(_ORPHAN_CHECK_SECONDS)
    while True:
        try:
            order, attached, _, _ = socket.recv_fds(control, 1, 1)
        except TimeoutError:
            if os.getppid() == int(parent):
                continue
            order = b""
        if not order:
            for place in list(workers):
                _end(workers, place)
            return 0
        place = order[0]
        _end(workers, place)
        if attached:
            template = os.getpid()
            workers[place] = os.fork()
            if workers[place] == 0:
                control.close()
                _work(attached[0], function, template, float(seconds), int(memory_bytes))
            os.close(attached[0])


def _end(workers: dict[int, int], place: int) -> None:
    process = workers.pop(place, None)
    if process is not None:
        os.kill(process, signal.SIGKILL)  # not reaped yet, so the number is still its own
        os.waitpid(process, 0)


def _work(descriptor: int, function: Function, template: int, seconds: float, memory_bytes: int) -> NoReturn:
    """Answer requests until the socket closes. Never returns into the template's code."""
    try:
        _end_with(template)
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_FSIZE, 0)
        if sys.platform == "linux":  # elsewhere the limit is refused or ignored
            _lower(resource.RLIMIT_AS, memory_bytes)
        connection = Connection(descriptor)
        connection.send_bytes(b"ready")
        while True:
            request = connection.recv_bytes()
            # The parent's clock is the limit; this one ends the worker should the parent be stopped.
            used = math.ceil(time.process_time() + seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (used, resource.getrlimit(resource.RLIMIT_CPU)[1]))
            connection.send_bytes(_answer(function, request))
    finally:
        os._exit(0)


def _end_with(template: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != template:  # it ended before the call
            os._exit(0)


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _answer(function: Function, request: bytes) -> bytes:
    """The outcome as JSON: the parent unpickles nothing that has touched hostile input."""
    try:
        answer = json.dumps({"outcome": "done", "value": function(*pickle.loads(request))}).encode()
        if len(answer) > MAX_ANSWER_BYTES:
            raise ValueError(f"result: {len(answer)} bytes of JSON; at most {MAX_ANSWER_BYTES} are taken")
        return answer
    except MemoryError:
        return b'{"outcome": "memory"}'
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"[:1000]
        return json.dumps({"outcome": "error", "detail": detail}).encode()


if __name__ == "__main__":
    sys.exit(main())
