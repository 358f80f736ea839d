"""A tiny scripted HTTP server over real sockets, for everything a healthy server does not do."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

Step = bytes | float


def response(status: int, body: bytes, content_type: str = "application/json") -> bytes:
    """One whole HTTP response."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def json_response(payload: Any, status: int = 200) -> bytes:
    return response(status, json.dumps(payload).encode())


def event(payload: Any) -> bytes:
    """One server-sent event as an HTTP chunk."""
    data = f"data: {payload if isinstance(payload, str) else json.dumps(payload)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_TAIL = b"0\r\n\r\n"


class ScriptedServer:
    """Plays one script for each connection: sends bytes, waits for numbers of seconds, then closes it.

    An empty script closes the connection without a byte, and so does having no script left.
    `requests` holds what was received, in order.
    """

    def __init__(self, scripts: Sequence[Sequence[Step]], port: int = 0) -> None:
        self._scripts = list(scripts)
        self._socket = socket.create_server(("127.0.0.1", port))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def body(self, index: int) -> dict[str, Any]:
        """The JSON body of one request."""
        return json.loads(self.requests[index].partition(b"\r\n\r\n")[2])

    def close(self) -> None:
        """Refuse connections from now on; safe to call twice."""
        if self._socket.fileno() >= 0:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.requests.append(_read_request(connection))
                script = self._scripts.pop(0) if self._scripts else ()
                self._play(connection, script)

    def _play(self, connection: socket.socket, script: Sequence[Step]) -> None:
        try:
            for step in script:
                if isinstance(step, bytes):
                    connection.sendall(step)
                else:
                    time.sleep(step)
        except OSError:
            return


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head = data.partition(b"\r\n\r\n")[0].lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
    while len(data) < len(head) + 4 + length:
        data += connection.recv(65536)
    return data
