"""How a model writes its thinking: its tags, who opens them, and what is inserted at a cut."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from jinja2.exceptions import TemplateError

from serve.budget import RequestError
from serve.templates import TemplateTraits, inspect_template, source, turn_tokens

FORMAT_FILE = "thinking_format.json"
OPEN = "<think>"
CLOSE = "</think>"
STOP_SENTENCE = (
    "Considering the limited time by the user, "
    "I have to give the solution based on the thinking directly now."
)
"""Early-stop wording of the Qwen3 report (arXiv 2505.09388, section 4.3)."""

KNOWN_TAGS = (
    (OPEN, CLOSE),  # Qwen3, DeepSeek-R1, QwQ, GLM-4.5, Kimi-K2-Thinking, MiniMax-M2, Nemotron 3
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<mm:think>", "</mm:think>"),  # MiniMax-M3
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    ("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),  # PLaMo 3
)
"""Tag pairs that are looked for, as vLLM's reasoning parsers of these models name them."""

TOOL_OPENERS = (
    "<tool_call>",  # Qwen3, GLM-4.5
    "<|tool_calls_section_begin|>",  # Kimi-K2
    "<minimax:tool_call>",
    "<seed:tool_call>",
    "<｜tool▁calls▁begin｜>",  # DeepSeek
    "[TOOL_CALLS]",  # Mistral
    "<|START_ACTION|>",  # Command A
)
"""Tokens that begin tool calls. A model that writes one while it thinks has left its thinking."""


NO_THINKING = (
    "{} has no thinking: no known pair of tags is in its tokenizer and its chat template; if it does think, "
    "name its tags with --thinking-open and --thinking-close"
)
REASONING_PARSER = "thinkdial"
"""Name of our reasoning parser among vLLM's, see `serve.reasoning_parser`."""


@dataclass(frozen=True)
class ThinkingFormat:
    """The thinking format of one model.

    open, close: the tags; each is one token of the tokenizer.
    stop_text: inserted when thinking is cut; holds `close` once.
    tokenizer: the tokenizer (transformers) that the ids below belong to.
    turn_end_ids: control tokens around turns; no thinking reaches across them.
    template: what the chat template does with thinking.
    """

    open: str
    close: str
    stop_text: str
    tokenizer: Any
    turn_end_ids: frozenset[int] = frozenset()
    template: TemplateTraits = field(default_factory=TemplateTraits)

    @property
    def opened_by(self) -> Literal["model", "template"]:
        """ "template" if the chat template ends with the open tag, "model" if the model writes it."""
        return self.template.opened_by

    @cached_property
    def open_id(self) -> int:
        return _tag_id(self.tokenizer, self.open)

    @cached_property
    def close_id(self) -> int:
        return _tag_id(self.tokenizer, self.close)

    @cached_property
    def ends(self) -> dict[str, bool]:
        """Texts that end thinking, the close tag and the starts of calls; whether each is answer itself."""
        vocabulary = self.tokenizer.get_added_vocab()
        return {self.close: False} | {name: True for name in TOOL_OPENERS if name in vocabulary}

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The tokens of `ends`."""
        return frozenset(_tag_id(self.tokenizer, text) for text in self.ends)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Exactly the ids that the engine inserts at a cut."""
        return self.encode_stop_text(self.stop_text)

    @cached_property
    def off_text(self) -> str:
        """What turns thinking off when it stands where a block would be opened."""
        return self.template.off_text or f"{self.open}\n\n{self.close}\n\n"

    @cached_property
    def empty_block_ids(self) -> tuple[int, ...]:
        """The empty block that turns thinking off, as the chat template writes it."""
        return self.encode(self.off_text)

    @cached_property
    def close_block_ids(self) -> tuple[int, ...]:
        """What closes a block that the prompt has opened."""
        line = f"{self.open}\n"
        opened = self.template.opened_text or (line if self.off_text.startswith(line) else self.open)
        if self.off_text.startswith(opened):
            return self.encode(self.off_text.removeprefix(opened))
        return self.encode(f"\n{self.close}\n\n")

    def template_kwargs(self, thinking: bool) -> dict[str, bool]:
        """`chat_template_kwargs` by which this model's template is told to think or not."""
        return self.template.kwargs(thinking)

    def encode_stop_text(self, text: str) -> tuple[int, ...]:
        """Token ids of an early-stop text.

        Raises RequestError (param "thinking.stop_text") unless the text holds the closing tag exactly once
        and no other control token.
        """
        if text.count(self.close) != 1:
            raise RequestError(
                "thinking.stop_text",
                f"thinking.stop_text is {text!r}; it must hold the closing tag {self.close!r} exactly once",
            )
        ids = self.encode(text)
        others = [i for i in ids if i in self.tokenizer.added_tokens_decoder and i != self.close_id]
        if others:
            names = ", ".join(repr(str(self.tokenizer.added_tokens_decoder[i])) for i in others)
            raise RequestError(
                "thinking.stop_text",
                f"thinking.stop_text is {text!r}; its one control token must be {self.close!r}, not {names}",
            )
        return ids

    def encode_wait_text(self, text: str) -> tuple[int, ...]:
        """Token ids of a text that makes thinking go on. Raises RequestError for one with control tokens."""
        ids = self.encode(text)
        if not ids or any(i in self.tokenizer.added_tokens_decoder for i in ids):
            raise RequestError(
                "thinking.wait_text",
                f"thinking.wait_text is {text!r}; it must be text without control tokens, such as 'Wait'",
            )
        return ids

    def decode(self, ids: tuple[int, ...], *, skip_special_tokens: bool) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def describe(self, model: str) -> dict[str, Any]:
        """The body of GET /v1/thinking/format."""
        return {
            "model": model,
            "open": self.open,
            "close": self.close,
            "open_id": self.open_id,
            "close_id": self.close_id,
            "opened_by": self.opened_by,
            "stop_text": self.stop_text,
            "stop_ids": list(self.stop_ids),
            "switch": self.template.switch,
            "on_by_default": self.template.on_by_default,
            "off_text": self.off_text,
            "earlier_turns": self.template.earlier_turns,
            "tool_turns": self.template.tool_turns,
        }

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))


def find_format(
    tokenizer: Any,
    folder: Path | None = None,
    *,
    chat_template: str | None = None,
    open: str | None = None,
    close: str | None = None,
    stop_text: str | None = None,
    turn_end_ids: frozenset[int] = frozenset(),
) -> ThinkingFormat | None:
    """A model's thinking format; None if the model does not think.

    Tags come from the arguments, else from `thinking_format.json` in `folder`, else from `KNOWN_TAGS`: the
    first pair that are tokens of the tokenizer and that the chat template, if there is one, writes or reads.

    tokenizer: a transformers tokenizer. chat_template: used instead of the tokenizer's own.
    Raises ValueError if only one tag is named, a tag is not one token, the file has an unknown member, the
    stop text is wrong, or the template cannot be rendered.
    """
    known: Mapping[str, str] = {}
    if folder is not None and (folder / FORMAT_FILE).is_file():
        known = json.loads((folder / FORMAT_FILE).read_text(encoding="utf-8"))
        unknown = set(known) - {"open", "close", "stop_text"}
        if unknown:
            raise ValueError(
                f"{folder / FORMAT_FILE} has members {sorted(unknown)}; known are open, close and stop_text"
            )
    open, close = open or known.get("open"), close or known.get("close")
    if open is None or close is None:
        found = next(
            (
                pair
                for pair in KNOWN_TAGS
                if open in (None, pair[0])
                and close in (None, pair[1])
                and _thinks_in(tokenizer, pair, source(tokenizer, chat_template))
            ),
            None,
        )
        if found is None and open is None and close is None:
            if stop_text or "stop_text" in known:
                raise ValueError("an early-stop text is given, but " + NO_THINKING.format("this model"))
            return None
        if found is None:
            raise ValueError(
                f"of the thinking tags only {open or close!r} is named, and its partner is not known: "
                "name both with --thinking-open and --thinking-close"
            )
        open, close = found
    try:
        turn_ids = turn_tokens(tokenizer, open, close, chat_template)
        traits = inspect_template(tokenizer, open, close, chat_template)
    except TemplateError as error:
        raise ValueError(
            f"the chat template cannot be rendered for one question ({error}); give the model's own"
        ) from error
    form = ThinkingFormat(
        open=open,
        close=close,
        stop_text=stop_text or known.get("stop_text", f"{STOP_SENTENCE}\n{close}\n\n"),
        tokenizer=tokenizer,
        turn_end_ids=turn_end_ids
        | turn_ids
        | frozenset(i for i in [tokenizer.eos_token_id] if i is not None),
        template=traits,
    )
    # Encoding checks the tags and the stop text now rather than at the first cut.
    if form.open_id == form.close_id:
        raise ValueError(f"the thinking tags are both {open!r}; the opening and the closing one must differ")
    assert form.stop_ids
    return form


def load_format(tokenizer: Any, folder: Path | None = None, **members: Any) -> ThinkingFormat:
    """As `find_format`, for a model that thinks. Raises ValueError if it does not."""
    form = find_format(tokenizer, folder, **members)
    if form is None:
        raise ValueError(NO_THINKING.format("this model"))
    return form


def no_thinking(model: str) -> RequestError:
    """The error for a request that asks something of the thinking of a model without any."""
    return RequestError("thinking", NO_THINKING.format(model))


def _thinks_in(tokenizer: Any, pair: tuple[str, str], template: str) -> bool:
    vocabulary = tokenizer.get_vocab()
    if any(tag not in vocabulary or len(_ids(tokenizer, tag)) != 1 for tag in pair):
        return False
    return not template or any(tag in template for tag in pair)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def _tag_id(tokenizer: Any, tag: str) -> int:
    ids = _ids(tokenizer, tag)
    if len(ids) != 1:
        raise ValueError(
            f"thinking tag {tag!r} is {len(ids)} tokens of this model's tokenizer; it must be one, since the "
            "ids of a longer tag vary with the text around it and no budget could be exact: name other tags "
            "with --thinking-open and --thinking-close, or add this one to the tokenizer"
        )
    return ids[0]
