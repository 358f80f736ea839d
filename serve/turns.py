"""Streams go on while engines are faster than the process that serves HTTP.

vLLM's task that reads the engines' outputs takes what has arrived without giving way to any other task. If
more arrives than it can read, as from several engines on few cores, no stream gets a token until they pause.
"""

import asyncio
from typing import Any

import zmq.asyncio


def take_turns(socket: zmq.asyncio.Socket) -> None:
    """Have every `recv_multipart` of the socket let other tasks run first."""
    receive = socket.recv_multipart

    async def give_way_and_receive(*args: Any, **kwargs: Any) -> list[Any]:
        await asyncio.sleep(0)
        return await receive(*args, **kwargs)

    setattr(socket, "recv_multipart", give_way_and_receive)  # noqa: B010  a method that only this socket has
