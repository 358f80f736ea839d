"""A hub for `datasets` to load from without a network: one data set repository, at one commit."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import ClassVar


def hub_handler(repository: str, commit: str, files: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    """A request handler that serves `files` (path to content) as the hub does; `asked` is what was asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        asked: ClassVar[list[str]] = []

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            self.asked.append(path)
            if path.startswith(f"/datasets/{repository}/resolve/"):
                self._file("/".join(path.split("/")[6:]))
            elif path.startswith(f"/api/datasets/{repository}/tree/"):
                folder = "/".join(path.split("/")[7:])
                self._json([_entry(name, files[name]) for name in files if name.startswith(f"{folder}/")])
            elif path.startswith(f"/api/datasets/{repository}"):
                siblings = [{"rfilename": name} for name in files]
                self._json({"id": repository, "sha": commit, "siblings": siblings, "private": False})
            else:
                self._reply(200 if path == "/" else 404, b"", {})

        def _file(self, name: str) -> None:
            if name not in files:
                return self._reply(404, b"", {"X-Error-Code": "EntryNotFound"})
            headers = {"ETag": f'"{_digest(files[name])}"', "X-Repo-Commit": commit}
            return self._reply(200, files[name], headers)

        def _json(self, value: object) -> None:
            self._reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler


def _entry(name: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(content), "oid": _digest(content)}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
