"""A vLLM request that is started before it is known to be needed."""

import asyncio
from collections.abc import AsyncGenerator

from vllm.outputs import RequestOutput


class Ahead:
    """A request that runs while it is not decided whether its reply is wanted.

    stream: vLLM's reply to it. Either `outputs` or `drop` must be used up.
    """

    def __init__(self, stream: AsyncGenerator[RequestOutput, None]) -> None:
        self._stream = stream
        self._first = asyncio.ensure_future(anext(stream))

    async def outputs(self) -> AsyncGenerator[RequestOutput, None]:
        """The reply, from its start."""
        try:
            yield await self._first
            async for output in self._stream:
                yield output
        finally:
            await self.drop()

    async def drop(self) -> None:
        """Have vLLM drop the request, unless it has finished."""
        self._first.cancel()
        await asyncio.wait([self._first])
        if not self._first.cancelled():
            self._first.exception()  # seen, so that asyncio does not complain
        await self._stream.aclose()
