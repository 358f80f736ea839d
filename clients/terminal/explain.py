"""What the chat tells its user about a request that failed."""

from __future__ import annotations

import httpx


def explain(error: Exception, base_url: str) -> str:
    """One line."""
    if isinstance(error, httpx.ConnectError):
        return f"no server at {base_url}; start one with: thinkdial serve"
    if isinstance(error, httpx.TimeoutException):
        return f"the server at {base_url} did not answer in time"
    if isinstance(error, httpx.TransportError):
        return f"the connection to {base_url} broke: {error}"
    return str(error)
