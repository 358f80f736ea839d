"""Engine processes end with the server that started them, also when that is killed.

vLLM's engines wait for requests of their front end for ever; one whose front end was killed keeps its memory.
"""

import multiprocessing
import os
import signal
import sys
from typing import Any

from vllm.v1.engine.coordinator import DPCoordinatorProc
from vllm.v1.engine.core import EngineCoreProc

from serve.processes import end_with_parent

run_engine = EngineCoreProc.run_engine_core
run_coordinator = DPCoordinatorProc.run_coordinator


def leave_none() -> None:
    """Have vLLM start its engines, and what coordinates them, by the functions below.

    It offers no other place that runs in these processes on every platform. Linux only, as prctl(2) is;
    with Ray, its own daemons end the engines.
    """
    if sys.platform == "linux":
        EngineCoreProc.run_engine_core = staticmethod(engine)
        DPCoordinatorProc.run_coordinator = staticmethod(coordinator)


def engine(*args: Any, **kwargs: Any) -> None:
    _end_with_server()
    run_engine(*args, **kwargs)


def coordinator(*args: Any, **kwargs: Any) -> None:
    _end_with_server()
    run_coordinator(*args, **kwargs)


def _end_with_server() -> None:
    """SIGKILL, as an engine in the middle of a step may not look at any other; its workers end with it."""
    end_with_parent(signal.SIGKILL)
    server = multiprocessing.parent_process()
    assert server is not None
    if os.getppid() != server.pid:
        os.kill(os.getpid(), signal.SIGKILL)
