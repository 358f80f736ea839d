"""A small OpenAI-compatible server that answers as told, for what the real one does not do."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[dict[str, Any], int], "Failing | None"]


@dataclass
class Failing:
    """An error in place of a reply. status 0 drops the connection without a byte."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


class ScriptedAPI:
    """Answers chat requests with a boxed 7. `script` is asked before each one: its body and number, from 0.

    bodies: what was asked, in order. keys: the Authorization headers. seconds: how long a reply takes.
    """

    def __init__(self, script: Script | None = None, *, model: str = "m", seconds: float = 0.0) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answered = 0
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.endswith("/v1/models"):
                    self._send(200, {"data": [{"id": model, "max_model_len": 4096}]})
                else:
                    self._send(404, {"detail": "Not Found"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with api._lock:
                    number = len(api.bodies)
                    api.bodies.append(body)
                    api.keys.append(self.headers["authorization"])
                    api._at_once += 1
                    api.most_at_once = max(api.most_at_once, api._at_once)
                time.sleep(seconds)
                failing = script(body, number) if script else None
                with api._lock:
                    api._at_once -= 1
                    api.answered += failing is None
                if failing is None:
                    self._reply(body)
                elif failing.status == 0:
                    self.close_connection = True
                    self.connection.close()
                else:
                    self._send(failing.status, {"error": {"message": "scripted"}}, failing.headers)

            def _reply(self, body: dict[str, Any]) -> None:
                text = {"reasoning_content": "hm", "content": "\\boxed{7}"}
                usage = {
                    "prompt_tokens": 11,
                    "completion_tokens": 9,
                    "completion_tokens_details": {"reasoning_tokens": 4},
                }
                start = {"id": "x", "model": body["model"]}
                if not body.get("stream"):
                    choice = {"index": 0, "message": text, "finish_reason": "stop"}
                    self._send(200, {**start, "choices": [choice], "usage": usage})
                    return
                choice = {"index": 0, "delta": text, "finish_reason": "stop"}
                events = [{**start, "choices": [choice]}, {**start, "choices": [], "usage": usage}]
                data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
                self._send(200, data, {"content-type": "text/event-stream"})

            def _send(self, status: int, payload: Any, headers: dict[str, str] | None = None) -> None:
                content = (payload if isinstance(payload, str) else json.dumps(payload)).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing to stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "ScriptedAPI":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
