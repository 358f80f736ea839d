"""Requests in every dialect of thinking budgets, folded into one `ThinkingBudget`.

`FIELDS` is the table: each field that a client may use, and what its value says. `OBJECTS` are the objects
whose other members are refused. What else in a request speaks of thinking is refused too: vLLM would
drop it in silence.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from serve.budget import (
    EFFORT_SHARES,
    RequestError,
    ThinkingBudget,
    boolean,
    effort_level,
    short_text,
    token_limit,
    with_members,
)
from serve.formats import CLOSE, ThinkingFormat

Route = Literal["chat", "completions", "responses", "messages", "tokens"]
"""What kind of body it is; "tokens" is vLLM's /inference/v1/generate."""

LEVELS = ("none", *EFFORT_SHARES)
SPEAKS_OF_THINKING = re.compile("think|budget|reasoning")


class Normalised(NamedTuple):
    """thinking: what is asked. body: the request for vLLM. hidden: the reply must not show the thinking."""

    thinking: ThinkingBudget
    body: dict[str, Any]
    hidden: bool


@dataclass(slots=True)
class _Said:
    """What a request's fields say, before they are weighed against each other."""

    limits: list[int | None] = field(default_factory=list)
    efforts: list[str] = field(default_factory=list)
    switches: list[bool] = field(default_factory=list)
    after_tools_only: bool = False
    hidden_by: str | None = None
    last_words: str | None = None


# What a field may say. Each reader checks the value and notes it.


def _limit(said: _Said, name: str, value: object) -> None:
    said.limits.append(token_limit(name, value))


def _effort(said: _Said, name: str, value: object) -> None:
    said.efforts.append(effort_level(name, value))


def _switch(said: _Said, name: str, value: object) -> None:
    said.switches.append(boolean(name, value))


def _hides(said: _Said, name: str, value: object) -> None:
    if boolean(name, value):
        said.hidden_by = name


def _shows(said: _Said, name: str, value: object) -> None:
    if not boolean(name, value):
        said.hidden_by = name


def _display(said: _Said, name: str, value: object) -> None:
    if _one_of(name, value, ("summarized", "omitted", "updates")) == "omitted":
        said.hidden_by = name


def _mode(said: _Said, name: str, value: object) -> None:
    mode = _one_of(name, value, ("enabled", "disabled", "adaptive", "between_tools"))
    if mode == "between_tools":
        said.after_tools_only = True
    else:
        said.switches.append(mode != "disabled")


def _last_words(said: _Said, name: str, value: object) -> None:
    said.last_words = short_text(name, value)


def _misplaced(said: _Said, name: str, value: object) -> None:
    raise RequestError(
        name, f"{name} is {value!r}; a budget is no variable of the template, give it at the top level"
    )


FIELDS: dict[str, Callable[[_Said, str, object], None]] = {
    # vLLM
    "thinking_token_budget": _limit,
    "sampling_params.thinking_token_budget": _limit,
    "chat_template_kwargs.thinking_token_budget": _misplaced,
    "include_reasoning": _shows,
    # Qwen's template, DashScope
    "chat_template_kwargs.enable_thinking": _switch,
    "enable_thinking": _switch,
    "thinking_budget": _limit,
    # OpenAI
    "reasoning_effort": _effort,
    "reasoning.effort": _effort,
    # OpenRouter
    "reasoning.max_tokens": _limit,
    "reasoning.enabled": _switch,
    "reasoning.exclude": _hides,
    # Anthropic
    "thinking.type": _mode,
    "thinking.budget_tokens": _limit,
    "thinking.display": _display,
    "output_config.effort": _effort,
    # llama.cpp
    "thinking_budget_tokens": _limit,
    "reasoning_budget_tokens": _limit,
    "reasoning_budget": _limit,
    "reasoning_budget_message": _last_words,
    # NVIDIA NIM, Dynamo
    "nvext.max_thinking_tokens": _limit,
    # ours, of which `serve.budget` reads the other members
    "thinking.budget": _limit,
    "thinking.effort": _effort,
}

OBJECTS: dict[str, dict[Route, tuple[str, ...]]] = {
    "reasoning": {"responses": ("summary", "generate_summary", "mode", "context")},
    "output_config": {"messages": ("format",)},
    "nvext": {},
}
"""Objects that may hold nothing but what `FIELDS` names, and what vLLM itself reads on a route."""

OWN: dict[Route, tuple[str, ...]] = {"tokens": ("reasoning_ended", "reasoning_parser_kwargs")}
"""Fields of vLLM's that speak of thinking and ask nothing of it."""

REVEALING: dict[str, Callable[[Any], bool]] = {
    "logprobs": bool,
    "return_token_ids": bool,
    "enable_response_messages": bool,
    "include": lambda value: isinstance(value, list) and "message.output_text.logprobs" in value,
}
"""Fields that show the tokens of the thinking, and when."""

_KNOWN = sorted({path.partition(".")[0] for path in FIELDS} - {"chat_template_kwargs", "sampling_params"})


def normalise_request(
    body: Mapping[str, Any],
    route: Route,
    default: ThinkingBudget | None = None,
    form: ThinkingFormat | None = None,
) -> Normalised:
    """Take every thinking field out of a request body.

    body: the request's JSON object; it is not modified.
    route: where templates are rendered (chat, responses, messages) the outcome also reaches the template, as
        the switch that it has, and the effort as `reasoning_effort`.
    default: what holds for members that the request does not name; its ceiling holds always.
    form: the served model's; without it tags and switch are taken to be Qwen3's.
    Of several limits the smallest wins, of several efforts the lowest; a switch that is off is a limit of 0;
    a limit beats an effort. A target accuracy stands beside neither.
    Raises RequestError, its param the field, for a wrong value, an unknown member or field that speaks of
    thinking, and fields that contradict each other.
    """
    default = default or ThinkingBudget()
    _refuse_unknown(body, route)
    rest = dict(body)
    said = _Said()
    for path, read in FIELDS.items():
        value = _take(rest, path)
        if value is not None:
            read(said, path, value)
    for name in _switches(form):
        path = f"chat_template_kwargs.{name}"
        if path not in FIELDS and (value := _take(rest, path)) is not None:
            _switch(said, path, value)
    members = dict(_object("thinking", rest.pop("thinking", None)))
    _refuse_members(rest, route)
    if said.hidden_by is not None:
        _refuse_revealing(rest, route, said.hidden_by)
    if said.last_words is not None:
        if members.get("stop_text") is not None:
            raise RequestError(
                "reasoning_budget_message",
                "reasoning_budget_message and thinking.stop_text are both given; one of them must go",
            )
        members["stop_text"] = said.last_words + _closing(form)
    if said.after_tools_only:
        said.switches.append(_ends_in_tool_result(body))

    effort = min(said.efforts, key=LEVELS.index, default=None)
    on = any(said.switches) or effort not in (None, "none")
    if False in said.switches:
        members["budget"] = 0
    elif said.limits:
        members["budget"] = min((n for n in said.limits if n is not None), default=-1)
    elif effort is not None:
        members["effort"] = effort
    elif on and default.budget == 0 and members.get("target_accuracy") is None:
        members["budget"] = -1
    thinking = with_members(default, members)
    if route in ("chat", "responses", "messages"):
        _tell_template(rest, route, thinking, on, effort, _switches(form))
    return Normalised(thinking, rest, said.hidden_by is not None)


def _switches(form: ThinkingFormat | None) -> tuple[str, ...]:
    """The template's variable that turns thinking on and off, if it has one."""
    return ("enable_thinking",) if form is None else tuple(form.template_kwargs(True))


def _closing(form: ThinkingFormat | None) -> str:
    """What ends the thinking when a request gives only the words before it."""
    return CLOSE if form is None else form.stop_text[form.stop_text.index(form.close) :]


def _tell_template(
    rest: dict[str, Any],
    route: Route,
    thinking: ThinkingBudget,
    on: bool,
    effort: str | None,
    switches: tuple[str, ...],
) -> None:
    """Put into `rest` what chat templates read, where the route's handler looks for it."""
    off = 0 in (thinking.budget, thinking.ceiling)
    variables = dict(_object("chat_template_kwargs", rest.get("chat_template_kwargs")))
    if off or on:
        variables |= dict.fromkeys(switches, not off)
    if effort is not None and (effort != "none" or off):
        if route == "chat":
            rest["reasoning_effort"] = effort
        elif route == "responses":
            rest["reasoning"] = {**(rest.get("reasoning") or {}), "effort": effort}
        else:  # of the efforts, vLLM's Anthropic handler knows only Anthropic's
            variables.setdefault("reasoning_effort", effort)
    if variables:
        rest["chat_template_kwargs"] = variables


def _take(rest: dict[str, Any], path: str) -> Any:
    """Remove a field, or a member of an object, and return its value; None if there is none."""
    name, _, member = path.partition(".")
    if not member:
        return rest.pop(name, None)
    if rest.get(name) is None:
        return None
    rest[name] = dict(_object(name, rest[name]))
    return rest[name].pop(member, None)


def _refuse_unknown(body: Mapping[str, Any], route: Route) -> None:
    for name in body:
        if SPEAKS_OF_THINKING.search(name) and name not in _KNOWN and name not in OWN.get(route, ()):
            near = difflib.get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KNOWN)}"
            raise RequestError(name, f"{name} is not a known field of thinking; {hint}")


def _refuse_members(rest: dict[str, Any], route: Route) -> None:
    """Refuse what the closed objects hold beside known members; drop those that are empty now."""
    for name, passed in OBJECTS.items():
        if name not in rest:
            continue
        members = _object(name, rest[name])
        for member in members:
            if member not in passed.get(route, ()):
                known = [path.partition(".")[2] for path in FIELDS if path.startswith(f"{name}.")]
                known += passed.get(route, ())
                raise RequestError(
                    f"{name}.{member}",
                    f"{name}.{member} is not known here; {name} has the members {', '.join(known)}",
                )
        if not members:
            del rest[name]


def _refuse_revealing(rest: dict[str, Any], route: Route, hidden_by: str) -> None:
    if route in ("completions", "tokens"):
        raise RequestError(
            hidden_by,
            f"{hidden_by} hides the thinking, but this route returns raw text or tokens; leave it out",
        )
    for name, reveals in REVEALING.items():
        if rest.get(name) and reveals(rest[name]):
            raise RequestError(
                name, f"{name} shows the tokens of the thinking that {hidden_by} hides; leave one of them out"
            )


def _ends_in_tool_result(body: Mapping[str, Any]) -> bool:
    """Whether the conversation's last message is a tool's result, in any of the APIs' shapes."""
    turns = body.get("messages") or body.get("input")
    last = turns[-1] if turns and isinstance(turns, list) else None
    if not isinstance(last, dict):
        return False
    content = last.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return (
        last.get("role") == "tool"
        or last.get("type") == "function_call_output"
        or any(block.get("type") == "tool_result" for block in blocks)
    )


def _object(name: str, value: object) -> Mapping[str, Any]:
    """`value` as an object; null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        example = {"thinking": {"budget": 256}, "chat_template_kwargs": {"enable_thinking": False}}.get(name)
        hint = f" such as {example}" if example else ""
        raise RequestError(name, f"{name} is {value!r}; it must be an object{hint}")
    return value


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise RequestError(name, f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    return str(value)
