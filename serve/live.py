"""The HTTP requests that are being answered, by an id that their clients get: "answer now", please."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from serve.budget import RequestError
from serve.trace import LiveThinking

KEY = "thinkdial.key"
"""Member of the ASGI scope: the API key that a request came with, None without one."""

HEADER = "x-thinking-id"
"""Header of responses with the id; a request that is not streamed may name its own in the same header."""

NAME = re.compile("[A-Za-z0-9_-]{1,64}")

router = APIRouter()


class LiveRequests:
    """Requests by id. Each belongs to the API key that made it; another key may have one of the same id."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str | None, str], LiveThinking] = {}

    def add(self, live: LiveThinking, owner: str | None, wanted: str | None = None) -> str:
        """Returns the id: the one that the client wants, or one that cannot be guessed.

        Raises RequestError for an id that is not a name or that a running request of the same owner has.
        """
        if wanted is not None and (not NAME.fullmatch(wanted) or (owner, wanted) in self._requests):
            raise RequestError(
                HEADER,
                f"{HEADER} is {wanted!r}; it must be 1 to 64 letters, digits, - or _, and unused",
            )
        thinking_id = wanted or f"think-{secrets.token_hex(16)}"
        self._requests[owner, thinking_id] = live
        return thinking_id

    def remove(self, thinking_id: str, owner: str | None) -> None:
        del self._requests[owner, thinking_id]

    def find(self, thinking_id: str, owner: str | None) -> LiveThinking | None:
        return self._requests.get((owner, thinking_id))


LIVE_REQUESTS = LiveRequests()
"""Those of this process."""


def key_name(scope: Mapping[str, Any]) -> str | None:
    """Name of the API key of a request; it owns what the request makes."""
    key = scope.get(KEY)
    return None if key is None else key.name


@router.post("/v1/thinking/{thinking_id}/stop")
async def stop_thinking(thinking_id: str, request: Request) -> JSONResponse:
    """Answer now: end the thinking of all choices of a running request of the same API key."""
    live = LIVE_REQUESTS.find(thinking_id, key_name(request.scope))
    if live is None:
        message = f"No running request has the thinking id {thinking_id!r}; the header x-thinking-id gives it"
        detail = {"message": message, "type": "NotFoundError", "param": "thinking_id", "code": 404}
        return JSONResponse({"error": detail}, status_code=404)
    return JSONResponse({"id": thinking_id, "stopping": live.stop()})
