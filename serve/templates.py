"""What a chat template does with thinking, found by rendering it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jinja2.exceptions import TemplateError

SWITCHES = ("enable_thinking", "thinking")
"""Template variables that switch thinking: Qwen3's and GLM's, and DeepSeek-V3.1's and Granite's."""

QUESTION = "WHAT-IS-IT"
THOUGHT = "SO-I-THINK"
USER = {"role": "user", "content": QUESTION}


@dataclass(frozen=True)
class TemplateTraits:
    """How a chat template treats thinking.

    opened_by: who writes the open tag when thinking is on.
    switch: the template variable that switches thinking, None if the template obeys none of `SWITCHES`.
    on_by_default: thinking is on unless switched off.
    off_text: what the template writes to turn thinking off, from the first tag on; None if it cannot.
    opened_text: what the template writes when it opens the block, from the open tag on.
    earlier_turns, tool_turns: whether the thinking of earlier turns, and of the tool calls since the last
        question, stays in the prompt; None if the template does not render such a conversation.
    """

    opened_by: Literal["model", "template"] = "model"
    switch: str | None = None
    on_by_default: bool = True
    off_text: str | None = None
    opened_text: str = ""
    earlier_turns: Literal["stripped", "kept"] | None = None
    tool_turns: Literal["stripped", "kept"] | None = None

    def kwargs(self, thinking: bool) -> dict[str, bool]:
        """`chat_template_kwargs` that tell this template to think or not; empty if it cannot be told."""
        return {} if self.switch is None else {self.switch: thinking}

    def prompt_state(self, kwargs: Mapping[str, Any]) -> Literal["fresh", "thinking", "disabled"]:
        """Where a prompt rendered with `chat_template_kwargs` leaves the model, as `serve.trace` names it."""
        on = self.on_by_default
        if self.switch is not None and kwargs.get(self.switch) is not None:
            on = bool(kwargs[self.switch])
        if on:
            return "thinking" if self.opened_by == "template" else "fresh"
        return "fresh" if self.off_text is None else "disabled"


@dataclass(frozen=True)
class _Renderer:
    """A tokenizer's chat template, or another in its place."""

    tokenizer: Any
    chat_template: str | None
    open: str
    close: str

    def __call__(self, messages: list[dict[str, Any]], **kwargs: Any) -> str:
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, chat_template=self.chat_template, **kwargs
        )

    def block(self, **kwargs: Any) -> str:
        """What follows the user's message, from the first tag on; "" if there is none."""
        tail = self([USER], **kwargs).rpartition(QUESTION)[2]
        starts = [at for at in (tail.find(self.open), tail.find(self.close)) if at >= 0]
        return tail[min(starts) :] if starts else ""

    def thinking_of(self, messages: list[dict[str, Any]]) -> Literal["stripped", "kept"] | None:
        try:
            return "kept" if THOUGHT in self(messages) else "stripped"
        except TemplateError:  # templates refuse conversations that their model cannot hold
            return None


def source(tokenizer: Any, chat_template: str | None = None) -> str:
    """The template's text, "" if there is none."""
    if chat_template is None and not getattr(tokenizer, "chat_template", None):
        return ""
    return tokenizer.get_chat_template(chat_template)


def inspect_template(
    tokenizer: Any, open: str, close: str, chat_template: str | None = None
) -> TemplateTraits:
    """Render a few conversations and read off what became of their thinking.

    tokenizer: a transformers tokenizer. chat_template: used instead of the tokenizer's own.
    """
    if not source(tokenizer, chat_template):
        return TemplateTraits()
    render = _Renderer(tokenizer, chat_template, open, close)
    plain = render([USER])
    switch = next((s for s in SWITCHES if render([USER], **{s: True}) != render([USER], **{s: False})), None)
    if switch is None:
        on, off, on_by_default = render.block(), "", True
    else:
        on, off = render.block(**{switch: True}), render.block(**{switch: False})
        on_by_default = plain == render([USER], **{switch: True})
    opened = on.rfind(open) > on.rfind(close)
    answer = f"{open}\n{THOUGHT}\n{close}\n\nIt is."
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "it"}}}
    return TemplateTraits(
        opened_by="template" if opened else "model",
        switch=switch,
        on_by_default=on_by_default,
        off_text=off if close in off else None,
        opened_text=on if opened else "",
        earlier_turns=render.thinking_of([USER, {"role": "assistant", "content": answer}, USER]),
        tool_turns=render.thinking_of(
            [
                USER,
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": THOUGHT,
                    "tool_calls": [call],
                },
                {"role": "tool", "content": "It is."},
            ]
        ),
    )


def turn_tokens(tokenizer: Any, open: str, close: str, chat_template: str | None = None) -> frozenset[int]:
    """Ids of the control tokens, but the tags, around a user's turn and before the reply."""
    if not source(tokenizer, chat_template):
        return frozenset()
    rendered = _Renderer(tokenizer, chat_template, open, close)([USER])
    added = {i: str(token) for i, token in tokenizer.added_tokens_decoder.items()}
    # Some tokenizers have runs of blanks among the added tokens.
    return frozenset(
        i
        for i in tokenizer.encode(rendered, add_special_tokens=False)
        if i in added and added[i] not in (open, close) and any(c.isalnum() for c in added[i])
    )
