"""Server-sent events of a streamed chat: bytes in, client events out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from clients.errors import parse_json
from clients.types import Finished
from clients.wire import Delta, StreamAssembler

DONE = "[DONE]"


class SSEParser:
    """Incremental parser of server-sent events (WHATWG HTML, section 9.2): bytes in, data of events out.

    Lines may end in LF, CR or CRLF and chunks may end anywhere, even inside a character. An event that is not
    closed by an empty line is not delivered. Field names other than data are skipped.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[str] = []
        self._after_cr = False
        self._first_line = True

    def feed(self, chunk: bytes) -> list[str]:
        """The data of every event that this chunk completes."""
        events: list[str] = []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return events
        self._after_cr = chunk.endswith(b"\r")
        *lines, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._line += line
            self._end_line(events)
        self._line += rest
        return events

    def _end_line(self, events: list[str]) -> None:
        line = self._line.decode("utf-8")
        self._line.clear()
        if self._first_line:
            line = line.removeprefix("\ufeff")
            self._first_line = False
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
        elif self._data:
            events.append("\n".join(self._data))
            self._data = []


class EventStream:
    """Bytes of a streamed chat response in, client events out: thinking and answer deltas, then Finished.

    thinking_id: from the response's headers.
    """

    def __init__(self, thinking_id: str | None = None) -> None:
        self._parser = SSEParser()
        self._assembler = StreamAssembler(thinking_id)
        self._done = False

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Deltas completed by these bytes. APIError if the server reports an error inside the stream."""
        for data in self._parser.feed(chunk):
            if data == DONE:
                self._done = True
            else:
                yield from self._assembler.feed(parse_json(200, data.encode()))

    def finish(self) -> Finished | None:
        """The final event; None if the bytes ended before the response (no [DONE], an unfinished choice)."""
        if not (self._done or self._assembler.complete):
            return None
        return Finished(self._assembler.reply())
