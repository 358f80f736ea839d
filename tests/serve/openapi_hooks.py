"""Hooks of schemathesis: requests made from the OpenAPI document generate little."""

from typing import Any

import schemathesis

MOST_TOKENS = 8
LIMITS = {"/v1/responses": ("max_output_tokens",), "/v1/messages": ("max_tokens",)}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Lower what the case would generate, unless what it asks is wrong anyway."""
    body = case.body
    if not isinstance(body, dict):
        return
    for name in LIMITS.get(case.path, ("max_tokens", "max_completion_tokens")):
        value = body.get(name)
        if value is None or (type(value) is int and value > MOST_TOKENS):
            body[name] = MOST_TOKENS
    for name, most in (("n", 2), ("min_tokens", MOST_TOKENS)):
        if type(body.get(name)) is int:
            body[name] = min(body[name], most)
