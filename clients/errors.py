"""Responses that are not what was asked: errors, `Retry-After`, bodies that are no JSON. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from clients.types import APIError


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3); None if neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def parse_error(
    status: int, content: bytes, retry_after: float | None = None, api_key: str | None = None
) -> APIError:
    """The error of a response; a body that is not an OpenAI error is quoted (500 characters).

    api_key: of the client. Some servers repeat it in their refusal, and errors are logged and stored.
    """
    text = content.decode("utf-8", errors="replace")
    if api_key:
        text = text.replace(api_key, "(the API key)")
    try:
        payload = json.loads(text)
    except ValueError:
        payload = None
    if isinstance(payload, dict):
        error = payload.get("error", payload)
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return APIError(status, error["message"], error.get("param"), retry_after)
        if isinstance(error, str):
            return APIError(status, error, None, retry_after)
    return APIError(status, text.strip()[:500] or "empty response body", None, retry_after)


def parse_json(status: int, content: bytes) -> Any:
    """The JSON of a response; APIError if it is none, as when base_url is not an OpenAI-compatible server."""
    try:
        return json.loads(content)
    except ValueError:
        raise APIError(status, f"the response is not JSON: {content[:200]!r}") from None
