"""How a model writes its thinking: its tags, who opens them, and what is inserted at a cut."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from serve.budget import RequestError

FORMAT_FILE = "thinking_format.json"
OPEN = "<think>"
CLOSE = "</think>"
STOP_SENTENCE = (
    "Considering the limited time by the user, "
    "I have to give the solution based on the thinking directly now."
)
"""Early-stop wording of the Qwen3 report (arXiv 2505.09388, section 4.3)."""


@dataclass(frozen=True)
class ThinkingFormat:
    """The thinking format of one model.

    open, close: the tags; each is one token of the tokenizer.
    stop_text: inserted when thinking is cut; holds `close` once.
    opened_by: "template" if the chat template ends with the open tag, "model" if the model writes it.
    tokenizer: the tokenizer (transformers) that the ids below belong to.
    turn_end_ids: ids that end a turn, hence any thinking before them.
    """

    open: str
    close: str
    stop_text: str
    opened_by: Literal["model", "template"]
    tokenizer: Any
    turn_end_ids: frozenset[int] = frozenset()

    @cached_property
    def open_id(self) -> int:
        return _tag_id(self.tokenizer, self.open)

    @cached_property
    def close_id(self) -> int:
        return _tag_id(self.tokenizer, self.close)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Exactly the ids that the engine inserts at a cut."""
        return self.encode_stop_text(self.stop_text)

    @cached_property
    def empty_block_ids(self) -> tuple[int, ...]:
        """The empty block that turns thinking off, as Qwen3's template writes it."""
        return self.encode(f"{self.open}\n\n{self.close}\n\n")

    @cached_property
    def close_block_ids(self) -> tuple[int, ...]:
        """What closes a block that the prompt has opened."""
        return self.encode(f"\n{self.close}\n\n")

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
        }

    def with_overrides(self, **overrides: Any) -> "ThinkingFormat":
        """The same format with the given members that are not None."""
        return replace(self, **{name: value for name, value in overrides.items() if value is not None})

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))


def load_format(
    tokenizer: Any,
    folder: Path | None = None,
    *,
    chat_template: str | None = None,
    open: str | None = None,
    close: str | None = None,
    stop_text: str | None = None,
    turn_end_ids: frozenset[int] = frozenset(),
) -> ThinkingFormat:
    """Read a model's thinking format; arguments win over `thinking_format.json` in `folder`.

    tokenizer: a transformers tokenizer. chat_template: used instead of the tokenizer's own.
    Raises ValueError if a tag is not one token, the file has an unknown member, or the stop text is wrong.
    """
    known: dict[str, str] = {}
    if folder is not None and (folder / FORMAT_FILE).is_file():
        known = json.loads((folder / FORMAT_FILE).read_text(encoding="utf-8"))
        unknown = set(known) - {"open", "close", "stop_text"}
        if unknown:
            raise ValueError(
                f"{folder / FORMAT_FILE} has members {sorted(unknown)}; known are open, close and stop_text"
            )
    open = open or known.get("open", OPEN)
    close = close or known.get("close", CLOSE)
    found = ThinkingFormat(
        open=open,
        close=close,
        stop_text=stop_text or known.get("stop_text", f"{STOP_SENTENCE}\n{close}\n\n"),
        opened_by="template" if _template_opens(tokenizer, open, chat_template) else "model",
        tokenizer=tokenizer,
        turn_end_ids=turn_end_ids | frozenset(i for i in [tokenizer.eos_token_id] if i is not None),
    )
    # Encoding checks the tags and the stop text now rather than at the first cut.
    assert found.open_id != found.close_id
    assert found.stop_ids
    return found


def _tag_id(tokenizer: Any, tag: str) -> int:
    ids = tokenizer.encode(tag, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(
            f"thinking tag {tag!r} is {len(ids)} tokens of this model's tokenizer; it must be one: "
            "name the model's tags with --thinking-open and --thinking-close"
        )
    return ids[0]


def _template_opens(tokenizer: Any, open: str, chat_template: str | None) -> bool:
    if chat_template is None and not tokenizer.chat_template:
        return False
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "?"}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=True,
        chat_template=chat_template,
    )
    return rendered.rstrip().endswith(open)
