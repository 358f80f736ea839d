"""Requests in every dialect of thinking budgets, folded into one `ThinkingBudget`."""

from dataclasses import replace
from typing import Any

from serve.budget import RequestError, ThinkingBudget, token_limit, with_members

FIELDS = ("thinking_token_budget", "thinking_budget", "enable_thinking", "thinking")


def normalise_request(
    body: dict[str, Any], route: str, default: ThinkingBudget | None = None
) -> tuple[ThinkingBudget, dict[str, Any]]:
    """Take every thinking field out of a request body.

    body: the request's JSON object; it is not modified.
    route: "chat" or "completions". Chat renders a template, so there a budget of 0 becomes
        `chat_template_kwargs.enable_thinking = False`.
    default: what the server does for requests that ask for nothing.
    Returns the budget and the body without the fields. Where several fields give a limit the smallest wins.
    Raises RequestError for a wrong type, a number below -1, an unknown member of `thinking`, or an unknown
    field that speaks of thinking or a budget: vLLM would drop it in silence.
    """
    rest = dict(body)
    for name in rest:
        if name not in FIELDS and ("thinking" in name or "budget" in name):
            raise RequestError(name, f"{name} is not a known field; to set a budget give {', '.join(FIELDS)}")
    limits: list[int | None] = []
    for field in ("thinking_token_budget", "thinking_budget"):
        value = rest.pop(field, None)
        if value is not None:
            limits.append(token_limit(field, value))

    asked = default or ThinkingBudget()
    thinking = rest.pop("thinking", None)
    if thinking is not None:
        members = _object("thinking", thinking, "such as {'budget': 256}")
        asked = with_members(asked, members)
        if members.get("budget") is not None:
            limits.append(asked.budget)

    switch = _switch("enable_thinking", rest.pop("enable_thinking", None))
    template = rest.get("chat_template_kwargs")
    template_switch = None
    if template is not None:
        template = _object("chat_template_kwargs", template, "such as {'enable_thinking': false}")
        template_switch = _switch("chat_template_kwargs.enable_thinking", template.get("enable_thinking"))
    if switch is False or template_switch is False:
        limits.append(0)

    # An explicit "no limit" overrides the server's default, but never another field's limit.
    numbers = [limit for limit in limits if limit is not None]
    if limits:
        asked = replace(asked, budget=min(numbers) if numbers else None)
    if route == "chat" and (asked.budget == 0 or switch is not None):
        rest["chat_template_kwargs"] = {**(template or {}), "enable_thinking": asked.budget != 0}
    return asked, rest


def _switch(field: str, value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise RequestError(field, f"{field} is {value!r}; it must be true or false")
    return value


def _object(field: str, value: object, example: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(field, f"{field} is {value!r}; it must be an object {example}")
    return value
