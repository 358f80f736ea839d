"""Requests in every dialect of thinking budgets, folded into one `ThinkingBudget`."""

from dataclasses import dataclass
from typing import Any

UNLIMITED = -1
FIELDS = ("thinking_token_budget", "thinking_budget", "enable_thinking", "thinking")
THINKING_MEMBERS = ("budget", "stop_text")


class RequestError(ValueError):
    """A request field is wrong; the HTTP layer answers 400 and names `param`."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """What a request asks of its thinking.

    budget: most thinking tokens of each choice; None is no limit, 0 is thinking off.
    stop_text: what is inserted when thinking is cut, closing tag included; None is the model's own.
    """

    budget: int | None = None
    stop_text: str | None = None


def normalise_request(
    body: dict[str, Any], route: str, default: int | None = None
) -> tuple[ThinkingBudget, dict[str, Any]]:
    """Take every thinking field out of a request body.

    body: the request's JSON object; it is not modified.
    route: "chat" or "completions". Chat renders a template, so there a budget of 0 becomes
        `chat_template_kwargs.enable_thinking = False`.
    default: the server's budget, for requests that name none.
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
            limits.append(_limit(field, value))

    thinking = rest.pop("thinking", None)
    stop_text = None
    if thinking is not None:
        members = _object("thinking", thinking, "such as {'budget': 256}")
        for name in members:
            if name not in THINKING_MEMBERS:
                raise RequestError(
                    f"thinking.{name}",
                    f"thinking.{name} is not known; thinking has the members {', '.join(THINKING_MEMBERS)}",
                )
        if members.get("budget") is not None:
            limits.append(_limit("thinking.budget", members["budget"]))
        stop_text = members.get("stop_text")
        if stop_text is not None and not isinstance(stop_text, str):
            raise RequestError(
                "thinking.stop_text",
                f"thinking.stop_text is {stop_text!r}; it must be a string that holds the closing tag",
            )

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
    budget = min(numbers) if numbers else (None if limits else default)
    if route == "chat" and (budget == 0 or switch is not None):
        rest["chat_template_kwargs"] = {**(template or {}), "enable_thinking": budget != 0}
    return ThinkingBudget(budget, stop_text), rest


def _limit(field: str, value: object) -> int | None:
    """A token count, or None for "no limit"."""
    if isinstance(value, bool) or not isinstance(value, int) or value < UNLIMITED:
        raise RequestError(
            field,
            f"{field} is {value!r}; it must be an integer: tokens, 0 for no thinking, -1 for no limit",
        )
    return None if value == UNLIMITED else value


def _switch(field: str, value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise RequestError(field, f"{field} is {value!r}; it must be true or false")
    return value


def _object(field: str, value: object, example: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(field, f"{field} is {value!r}; it must be an object {example}")
    return value
