"""The event that ends a stream whose reply cannot be completed, in the words of each API."""

import json
from typing import Any

MESSAGE = "the server failed or ended before this response was complete"


def choices(last: bytes) -> dict[str, Any]:
    """OpenAI's chat and completions. last: the event before it."""
    return {"error": {"message": MESSAGE, "type": "InternalServerError", "param": None, "code": 500}}


def responses(last: bytes) -> dict[str, Any]:
    """OpenAI's responses, whose events are numbered."""
    data = last.partition(b"data: ")[2]
    number = json.loads(data)["sequence_number"] + 1 if data else 0
    return {
        "type": "error",
        "code": "server_error",
        "message": MESSAGE,
        "param": None,
        "sequence_number": number,
    }


def messages(last: bytes) -> dict[str, Any]:
    """Anthropic's messages."""
    return {"type": "error", "error": {"type": "api_error", "message": MESSAGE}}
