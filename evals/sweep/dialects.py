"""How each kind of server is told how much to think: the request fields of a budget, as one table.

Sources: vLLM's and SGLang's server documentation (SGLang keeps a budget under --enable-strict-thinking only),
llama.cpp's server (its versions differ in the name of the field, so both are sent), OpenAI's chat completions
reference, OpenRouter's "reasoning tokens", Alibaba Cloud Model Studio's "deep thinking" (thinking models
answer streamed requests only). `thinkdial` is this project's server.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from evals.budgets import Budget, axis_of
from evals.sweep.presets import Parameters

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The request fields of one kind of server; None where it has no field for that.

    tokens, effort: the fields of a number of tokens or an effort level. off, on: thinking off; on without
    limit.
    limit: the field for the most tokens of a reply. streams: whether requests must be streamed.
    has_top_k: whether top_k is a field. exact: whether budgets are kept to the token, so that a reply beyond
    its budget means that something is wrong. hosts: domains where it is spoken.
    """

    name: str
    tokens: Callable[[int], Fields] | None
    effort: Callable[[str], Fields] | None
    off: Fields | None
    on: Fields | None
    limit: str = "max_tokens"
    streams: bool = False
    has_top_k: bool = True
    exact: bool = False
    hosts: tuple[str, ...] = ()

    def fields(self, budget: Budget) -> Fields:
        """What a request under `budget` says. ValueError if this API cannot ask for it."""
        fields: Fields | None
        if thinks_not(budget) and axis_of([budget]) != "effort":
            fields = self.off
        elif budget in ("max", "on"):
            fields = self.on
        elif isinstance(budget, int):
            fields = None if self.tokens is None else {**(self.on or {}), **self.tokens(budget)}
        else:
            fields = None if self.effort is None else self.effort(budget)
        if fields is None:
            raise ValueError(
                f"budgets: {budget} cannot be asked for in the dialect {self.name}; it has {self._offers()}"
            )
        return fields

    def _offers(self) -> str:
        offers = {
            "numbers of tokens": self.tokens,
            "effort levels": self.effort,
            "off": self.off,
            "on": self.on,
        }
        return ", ".join(name for name, fields in offers.items() if fields is not None)

    def check(self, budgets: Iterable[Budget], parameters: Iterable[Parameters]) -> None:
        """Raises ValueError for what cannot be asked in this dialect."""
        for budget in budgets:
            self.fields(budget)
        for values in parameters:
            if values.top_k and not self.has_top_k:
                raise ValueError(
                    f"top_k: {values.top_k} cannot be asked for in the dialect {self.name}; "
                    "give --top-k 0 or --sampling server"
                )


def thinks_not(budget: Budget) -> bool:
    """Whether a budget turns thinking off."""
    return budget in (0, "off", "none")


def _template(enabled: bool) -> Fields:
    return {"chat_template_kwargs": {"enable_thinking": enabled}}


def _effort(level: str) -> Fields:
    return {"reasoning_effort": level}


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "thinkdial",
            tokens=lambda tokens: {"thinking": {"budget": tokens}},
            effort=_effort,
            off={"thinking": {"budget": 0}},
            on={"thinking": {"budget": -1}},
            exact=True,
        ),
        Dialect(
            "vllm",
            tokens=lambda tokens: {"thinking_token_budget": tokens},
            effort=_effort,
            off=_template(False),
            on=_template(True),
        ),
        Dialect(
            "sglang",
            tokens=lambda tokens: {"custom_params": {"thinking_budget": tokens}},
            effort=_effort,
            off=_template(False),
            on=_template(True),
        ),
        Dialect(
            "llamacpp",
            tokens=lambda tokens: {"thinking_budget_tokens": tokens, "reasoning_budget_tokens": tokens},
            effort=None,
            off=_template(False),
            on=_template(True),
        ),
        Dialect(
            "openai",
            tokens=None,
            effort=_effort,
            off=_effort("none"),
            on=None,
            limit="max_completion_tokens",
            has_top_k=False,
            hosts=("api.openai.com",),
        ),
        Dialect(
            "openrouter",
            tokens=lambda tokens: {"reasoning": {"max_tokens": tokens}},
            effort=lambda level: {"reasoning": {"effort": level}},
            off={"reasoning": {"enabled": False}},
            on={"reasoning": {"enabled": True}},
            hosts=("openrouter.ai",),
        ),
        Dialect(
            "dashscope",
            tokens=lambda tokens: {"thinking_budget": tokens},
            effort=None,
            off={"enable_thinking": False},
            on={"enable_thinking": True},
            streams=True,
            hosts=("aliyuncs.com",),
        ),
    )
}


def choose(name: str, base_url: str, has_format: bool) -> Dialect:
    """The dialect of that name; "auto": by what the server is.

    has_format: whether it has the route /v1/thinking/format. Raises ValueError for an unknown name.
    """
    if name == "auto":
        if has_format:
            return DIALECTS["thinkdial"]
        host = urlsplit(base_url).hostname or ""
        for dialect in DIALECTS.values():
            if any(host == domain or host.endswith(f".{domain}") for domain in dialect.hosts):
                return dialect
        return DIALECTS["vllm"]
    if name not in DIALECTS:
        raise ValueError(f"dialect: {name!r} is not known; give auto or one of {', '.join(DIALECTS)}")
    return DIALECTS[name]
