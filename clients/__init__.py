"""Typed client of thinkdial and other OpenAI-compatible servers, terminal chat, `thinkdial` command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clients.types import (
    AnswerDelta,
    APIError,
    Choice,
    Entropy,
    EntropyDelta,
    Event,
    Finished,
    Reply,
    Started,
    ThinkingDelta,
    ThinkingFormat,
    ThinkingReport,
    TokenLogprob,
    Usage,
)

if TYPE_CHECKING:
    from clients.client import AsyncClient, Client

__all__ = [
    "APIError",
    "AnswerDelta",
    "AsyncClient",
    "Choice",
    "Client",
    "Entropy",
    "EntropyDelta",
    "Event",
    "Finished",
    "Reply",
    "Started",
    "ThinkingDelta",
    "ThinkingFormat",
    "ThinkingReport",
    "TokenLogprob",
    "Usage",
]


def __getattr__(name: str) -> Any:
    """Import httpx only when a client is wanted: `thinkdial --help` passes through this package too."""
    if name in ("Client", "AsyncClient"):
        from clients import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
