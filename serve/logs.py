"""One line of JSON for each HTTP request that has ended. Never user text, never a key."""

import json
import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from serve.trace import ThinkingTracker

LOGGER = logging.getLogger("thinkdial.requests")

RECORD: ContextVar["RequestRecord | None"] = ContextVar("request_record", default=None)
"""The request that is being served, also in the tasks its handler starts."""


@dataclass(slots=True)
class RequestRecord:
    """What is known of one HTTP request.

    scope: its ASGI scope; vLLM's handlers leave the usage in its state. key: name of its API key.
    complete: the whole response was sent. choices: reports of the choices that finished.
    """

    scope: MutableMapping[str, Any]
    started: float = field(default_factory=monotonic)
    key: str | None = None
    status: int | None = None
    thinking_id: str | None = None
    complete: bool = False
    choices: list[dict[str, Any]] = field(default_factory=list)

    def line(self) -> str:
        """The log line. Without a query, which may hold anything."""
        metadata = self.scope.get("state", {}).get("request_metadata")
        usage = getattr(metadata, "final_usage_info", None)
        members = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": "request",
            "method": self.scope.get("method", "WEBSOCKET"),
            "route": self.scope["path"],
            "status": self.status,
            "complete": self.complete,
            "seconds": round(monotonic() - self.started, 4),
            "key": self.key,
            "thinking_id": self.thinking_id,
            "prompt_tokens": None if usage is None else usage.prompt_tokens,
            "completion_tokens": None if usage is None else usage.completion_tokens,
            "thinking_tokens": sum(choice["tokens"] for choice in self.choices) if self.choices else None,
            "stop_causes": [choice["stop_cause"] for choice in self.choices],
        }
        return json.dumps(members)


def choice_finished(tracker: ThinkingTracker) -> None:
    """Note the report of a choice with the request that it belongs to."""
    if (record := RECORD.get()) is not None:
        record.choices.append(tracker.report().as_dict())


def log_to_stdout() -> None:
    """Send the lines to standard output, as they are."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
