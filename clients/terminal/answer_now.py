"""Ctrl-C and /now in the terminal chat: "answer now" while a reply thinks, else Ctrl-C is "stop"."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

import httpx

from clients.client import Client
from clients.types import AnswerDelta, APIError, Event, Finished, Started


class AnswerNow:
    """Takes Ctrl-C while a reply streams: the first during its thinking asks the server for the answer.

    Any other raises KeyboardInterrupt as usual. A context manager of the main thread.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._thinking_id: str | None = None

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def watch(self, event: Event) -> None:
        """See each event of the stream: from it is known whether the reply is thinking."""
        if isinstance(event, Started):
            self._thinking_id = event.thinking_id
        elif isinstance(event, AnswerDelta | Finished):
            self._thinking_id = None

    def now(self) -> bool:
        """Ask for the answer, without waiting for it; False unless the reply is thinking."""
        thinking_id, self._thinking_id = self._thinking_id, None
        if thinking_id is None:
            return False
        # The stream is being read in the main thread, and goes on.
        threading.Thread(target=self._stop, args=(thinking_id,), daemon=True).start()
        return True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self.now():
            raise KeyboardInterrupt

    def _stop(self, thinking_id: str) -> None:
        # Where it fails the reply has ended, or its stream will fail by itself.
        with suppress(APIError, httpx.TransportError):
            self._client.stop(thinking_id)
