"""Running the HTTP server until a signal comes or the engine dies, and ending it so that no client hangs."""

import asyncio
import signal
import socket
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import uvicorn
import vllm.envs as envs
from vllm.entrypoints.launchers.launcher import NoSignalServer
from vllm.exceptions import GracefulHTTPError
from vllm.logger import init_logger
from vllm.v1.engine.async_llm import AsyncLLM

from serve.limits import Admission

logger = init_logger("vllm.thinkdial")

ENGINE_CHECK_SECONDS = 0.1
ERROR_SECONDS = 2
"""What a dead engine's client gets to tell the requests that wait for it."""

ENDING_SECONDS = 2
"""What responses get to end once their engine is gone; then their connections are closed."""


async def serve_until_stopped(
    app: Any,
    config: uvicorn.Config,
    sock: socket.socket,
    engine: AsyncLLM,
    admission: Admission,
    drain_seconds: float,
) -> int:
    """Serve until SIGTERM or SIGINT, or until the engine is dead. Returns the process's exit code.

    SIGTERM drains: requests that run may end, for `drain_seconds` at most, and new ones are refused. SIGINT,
    or a second signal, ends at once. Either is exit code 0. A dead engine is exit code 1, unless
    VLLM_KEEP_ALIVE_ON_ENGINE_DEATH is set, as in vLLM.
    """
    server = NoSignalServer(config)
    app.state.server = server
    loop = asyncio.get_running_loop()
    drain, end = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, lambda: (end if drain.is_set() else drain).set())
    loop.add_signal_handler(signal.SIGINT, end.set)

    serving = asyncio.create_task(server.serve(sockets=[sock]))
    over = {serving, asyncio.create_task(end.wait()), asyncio.create_task(_death(engine))}
    drained = asyncio.create_task(_drained(drain, admission, drain_seconds))
    await asyncio.wait({*over, drained}, return_when=asyncio.FIRST_COMPLETED)
    admission.closed = True
    for task in {*over, drained} - {serving}:
        task.cancel()

    died = engine.errored
    failed = died or serving.done()
    if died and engine.output_handler is not None:
        await asyncio.wait([engine.output_handler], timeout=ERROR_SECONDS)
    # Before the engine aborts its requests, which would look to clients like their natural end; and after,
    # for those that came in between, which vLLM would leave waiting.
    ending = GracefulHTTPError("the server ended before this response did", HTTPStatus.SERVICE_UNAVAILABLE)
    engine.output_processor.propagate_error(ending)
    await loop.run_in_executor(None, partial(engine.shutdown, timeout=0))
    engine.output_processor.propagate_error(ending)
    server.should_exit = True
    await asyncio.wait([serving], timeout=ENDING_SECONDS)
    server.force_exit = True
    await serving
    return int(failed)


async def _drained(asked: asyncio.Event, admission: Admission, seconds: float) -> None:
    """Once asked to, refuse new requests and return when those that run have ended, or the time is over."""
    await asked.wait()
    admission.closed = True
    logger.info("Draining: requests that run have %s s to end", seconds)
    with suppress(TimeoutError):
        await asyncio.wait_for(admission.idle(), seconds)


async def _death(engine: AsyncLLM) -> None:
    """Return when the engine has died."""
    while not engine.errored or envs.VLLM_KEEP_ALIVE_ON_ENGINE_DEATH:
        await asyncio.sleep(ENGINE_CHECK_SECONDS)
