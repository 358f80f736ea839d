"""What the client returns, streams, accepts and raises: plain frozen dataclasses and typed options.

Counts are numbers of tokens. Nothing here needs the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict


@dataclass(frozen=True, slots=True)
class Entropy:
    """How uncertain the model was at each token of a choice's thinking, in order.

    texts: of the tokens; None where thinking is hidden. values: entropy in nats of the distribution over the
        vocabulary that a token was drawn from. margin: probability of the most likely token less that of the
        second. Both are None for a token that was inserted, not generated.
    exact: nothing of the distribution was left out. Else values are lower bounds, and upper and residual tell
        the upper bounds and the probability of the tokens that the server did not look at.
    """

    texts: list[str] | None
    values: list[float | None]
    margin: list[float | None]
    exact: bool
    upper: list[float | None] | None = None
    residual: list[float | None] | None = None


@dataclass(frozen=True, slots=True)
class ThinkingReport:
    """How the thinking of one choice went, as the server reports it.

    stop_cause: why it ended. "natural": the model closed it; "budget", "deadline", "soft", "loop",
        "confident", "client": that policy cut it; "length": max_tokens ran out while thinking; "disabled":
        it was off. Servers may name more causes.
    budget: the limit on thinking tokens that applied; None means no limit.
    tokens: tokens the model generated between the open and the close tag.
    inserted_tokens: tokens of the early-stop text, 0 unless thinking was cut.
    blocks: how many thinking blocks there were. seconds: from the request's arrival to the end of the choice.
    The rest is None unless it was in force: requested_budget and lowered_by ("answer_reserve", "context" or
    "ceiling"), when the budget is less than asked; effort; calibrated, of an effort, a target accuracy or a
    cost: whether the budget was measured on this model; expected_accuracy under the budget, as measured;
    deadline in seconds and deadline_missed; probes and probe_tokens, not part of the reply;
    waits: how often an early end of thinking was refused; entropy of the thinking's
    tokens. extra: members that this client does not know.
    """

    stop_cause: str
    budget: int | None
    tokens: int
    inserted_tokens: int
    blocks: int | None = None
    seconds: float | None = None
    requested_budget: int | None = None
    lowered_by: str | None = None
    effort: str | None = None
    calibrated: bool | None = None
    expected_accuracy: float | None = None
    deadline: float | None = None
    deadline_missed: bool | None = None
    probes: int | None = None
    probe_tokens: int | None = None
    waits: int | None = None
    entropy: Entropy | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a whole response, all choices. reasoning_tokens is None if the server does not count them."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int | None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """What the model thought of one token of a reply.

    token: its text. logprob: natural log of its probability; None where the server has none.
    top: the most likely tokens at its place with their log probabilities, most likely first; empty unless
        top_logprobs were asked. The token itself may be among them.
    """

    token: str
    logprob: float | None
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One sampled reply.

    thinking: its text, with the early-stop text if it was cut; "" if there was none. report: None from
    servers that send none. token_ids: generated and inserted tokens, None unless return_token_ids was asked.
    logprobs: of the same tokens, None unless they were asked.
    """

    index: int
    thinking: str
    answer: str
    finish_reason: str | None
    report: ThinkingReport | None
    token_ids: list[int] | None
    logprobs: list[TokenLogprob] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response: its choices in the order of their index; the properties read choice 0.

    thinking_id: what `stop` took while it ran; None from servers without it.
    """

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None
    prompt_token_ids: list[int] | None
    thinking_id: str | None = None

    @property
    def thinking(self) -> str:
        return self.choices[0].thinking

    @property
    def answer(self) -> str:
        return self.choices[0].answer

    @property
    def report(self) -> ThinkingReport | None:
        return self.choices[0].report

    @property
    def finish_reason(self) -> str | None:
        return self.choices[0].finish_reason


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of a stream, before any text. thinking_id: for `stop`; None from servers without it."""

    thinking_id: str | None


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """A piece of thinking text of one choice, in order.

    tokens: thinking tokens of the choice so far, where the server counts them in every chunk, as vLLM's
    stream_options.continuous_usage_stats asks (option `extra`); else None.
    """

    text: str
    choice: int
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class EntropyDelta:
    """What the next tokens of a choice's thinking were like; comes before their text.

    tokens: their texts. entropy: in nats, a lower bound where upper, the upper bound, is not None.
    margin: as in `Entropy`. None for inserted tokens.
    """

    tokens: list[str]
    entropy: list[float | None]
    margin: list[float | None]
    upper: list[float | None] | None
    choice: int


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """A piece of answer text of one choice, in order."""

    text: str
    choice: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a stream: the same reply that the request would have returned without streaming."""

    reply: Reply


Event = Started | EntropyDelta | ThinkingDelta | AnswerDelta | Finished


@dataclass(frozen=True, slots=True)
class ThinkingFormat:
    """How the served model writes its thinking: its tags, and the early-stop text inserted at a cut.

    opened_by: "model" if the model generates the open tag, "template" if the prompt already ends with it.
    stop_ids: exactly the token ids the server inserts. default_budget: tokens, None means no limit.
    """

    model: str
    open: str
    close: str
    open_id: int
    close_id: int
    opened_by: str
    stop_text: str
    stop_ids: list[int]
    default_budget: int | None


class SamplingOptions(TypedDict, total=False):
    """Options of every request; one that is absent or None is left to the server.

    budget: most thinking tokens of each choice; 0 turns thinking off, -1 means no limit.
    stop_text: early-stop text for this request, close tag included.
    effort, target_accuracy, max_cost, family: the budget by what was measured of the model: a level ("none",
        "minimal", "low", "medium", "high", "xhigh", "max"), the accuracy wanted, the most mean thinking
        tokens, the kind of problem. All but effort need a server with a thinking profile.
    thinking: every member that the server's `thinking` object may have, such as {"deadline": 10, "soft": 16};
        not those that are given by name too.
    thinking_id: the name of this request for `stop`, 1 to 64 letters, digits, - or _; the server makes one if
        none is given.
    model: name of a served model; by default the first one the server lists.
    n: number of choices. max_tokens: most tokens of a choice, thinking and inserted tokens included.
    stop: strings that end the answer. return_token_ids: fill in token_ids and prompt_token_ids.
    logprobs: fill in the log probabilities of the tokens, and of so many alternatives at each; 0 is none.
    extra: further fields of the request body; objects are merged, other values replace ours.
    """

    budget: int | None
    stop_text: str | None
    effort: str | None
    target_accuracy: float | None
    max_cost: float | None
    family: str | None
    thinking: Mapping[str, Any] | None
    thinking_id: str | None
    model: str | None
    n: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    max_tokens: int | None
    seed: int | None
    stop: str | Sequence[str] | None
    return_token_ids: bool
    logprobs: int | None
    extra: Mapping[str, Any] | None


class ChatOptions(SamplingOptions, total=False):
    """SamplingOptions and enable_thinking: False turns thinking off in the chat template, True on."""

    enable_thinking: bool | None


Messages = str | Sequence[Mapping[str, Any]]


class APIError(Exception):
    """The server answered with an error.

    status: HTTP status. param: the request field it blames, if any. retry_after: seconds after which the
    server asks to be tried again, if it says so.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(status, message, param)
        self.status = status
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def __str__(self) -> str:
        field = f" ({self.param})" if self.param else ""
        return f"HTTP {self.status}{field}: {self.message}"
