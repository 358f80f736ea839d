"""One reasoning parser for every thinking format: vLLM shows as reasoning what the budget counts as thinking.

A reply thinks if its prompt ends inside a block, or if it begins with the open tag; its thinking ends at the
close tag or where a tool call begins. All else is content. vLLM loads this module in its engine process too.
"""

import argparse
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from vllm.config import VllmConfig
from vllm.entrypoints.generate.base.protocol import DeltaMessage
from vllm.reasoning import ReasoningParser, ReasoningParserManager

from serve.formats import REASONING_PARSER, ThinkingFormat
from serve.prompts import PromptState, prompt_state
from serve.templates import TemplateTraits

ENVIRONMENT = "THINKDIAL_THINKING_FORMAT"
"""Environment variable that takes the format to the engine process."""


def register(form: ThinkingFormat, args: argparse.Namespace, config: VllmConfig) -> None:
    """Have vLLM parse replies by `form`.

    args, config: vLLM's arguments and the configuration made of them, before an engine is. Unlike its flag
    --reasoning-parser this leaves vLLM's own budgets switched off.
    """
    members = {
        "open": form.open,
        "close": form.close,
        "stop_text": form.stop_text,
        "turn_end_ids": sorted(form.turn_end_ids),
        "template": asdict(form.template),
    }
    os.environ[ENVIRONMENT] = json.dumps(members)
    for outputs in (args.structured_outputs_config, config.structured_outputs_config):
        outputs.reasoning_parser = REASONING_PARSER
        outputs.reasoning_parser_plugin = __name__


@lru_cache(maxsize=4)
def _form(tokenizer: Any) -> ThinkingFormat:
    members = json.loads(os.environ[ENVIRONMENT])
    return ThinkingFormat(
        open=members["open"],
        close=members["close"],
        stop_text=members["stop_text"],
        tokenizer=tokenizer,
        turn_end_ids=frozenset(members["turn_end_ids"]),
        template=TemplateTraits(**members["template"]),
    )


class Splitter:
    """Splits a reply, as it comes, into reasoning and content.

    open: the open tag. ends: texts that end thinking, and whether each is itself content.
    """

    def __init__(self, open: str, ends: Mapping[str, bool], state: PromptState) -> None:
        self.open = open
        self.ends = ends
        self.inside = state == "thinking"
        self.closed = state in ("answering", "disabled")
        self._begun = False
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Reasoning and content that `text` adds. What may be part of a tag is held back."""
        if self.closed:
            return "", text
        self._held += text
        if not self._begun:
            start = self._held.lstrip()
            if len(start) < len(self.open) and self.open.startswith(start):
                return "", ""
            self._begun = True
            if start.startswith(self.open):
                self.inside = True
                self._held = start.removeprefix(self.open)
        if not self.inside:
            self.closed = True
            return "", self._take(len(self._held))
        at, end = min(((at, end) for end in self.ends if (at := self._held.find(end)) >= 0), default=(-1, ""))
        if end:
            self.closed = True
            reasoning, rest = self._take(at), self._take(len(self._held))
            return reasoning, rest if self.ends[end] else rest.removeprefix(end)
        return self._take(len(self._held) - _overlap(self._held, self.ends)), ""

    def finish(self) -> tuple[str, str]:
        """What was held back, when no more will come."""
        held = self._take(len(self._held))
        return (held, "") if self.inside else ("", held)

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken


def _overlap(text: str, tags: Iterable[str]) -> int:
    """Length of the longest end of `text` that a tag begins with."""
    longest = max(map(len, tags)) - 1
    return next(
        (n for n in range(min(longest, len(text)), 0, -1) if any(t.startswith(text[-n:]) for t in tags)), 0
    )


class ThinkingReasoningParser(ReasoningParser):
    """vLLM's interface to a `Splitter`, by the format that `register` was given.

    Its start and end strings stay None: they would switch on vLLM's own budgets.
    """

    engine_based_streaming = True

    def __init__(self, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(tokenizer, *args, **kwargs)
        self.form = _form(tokenizer)
        self.state: PromptState = self.form.template.prompt_state(kwargs.get("chat_template_kwargs") or {})
        self._stream = self._splitter(self.state)

    def _splitter(self, state: PromptState) -> Splitter:
        return Splitter(self.form.open, self.form.ends, state)

    def adjust_initial_state_from_prompt(self, prompt_token_ids: Sequence[int]) -> None:
        self.state = prompt_state(prompt_token_ids, self.form)
        self._stream = self._splitter(self.state)

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        return prompt_state(input_ids, self.form) in ("answering", "disabled")

    def is_reasoning_end_streaming(self, input_ids: Sequence[int], delta_ids: Iterable[int]) -> bool:
        return not self.form.end_ids.isdisjoint(delta_ids)

    def has_engine_confirmed_reasoning_end(self) -> bool:
        return self._stream.closed

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """The ids after the end of thinking, a tool call's first among them; all if there is no end."""
        for position, token in enumerate(input_ids):
            if token in self.form.end_ids:
                return input_ids[position + (token == self.form.close_id) :]
        return input_ids

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        state = self.state
        before, close, _ = model_output.partition(self.form.close)
        if close and state == "fresh" and self.form.open not in before:
            state = "thinking"  # a prompt that was not made by the template had opened the block
        splitter = self._splitter(state)
        (reasoning, content), (held, rest) = splitter.feed(model_output), splitter.finish()
        return reasoning + held or None, content + rest or None

    def extract_reasoning_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
    ) -> DeltaMessage | None:
        return _message(*self._stream.feed(delta_text))

    def finish_streaming(self) -> DeltaMessage | None:
        return _message(*self._stream.finish())

    def count_reasoning_tokens(self, token_ids: Sequence[int]) -> int:
        inside, count = self.state == "thinking", 0
        for token in token_ids:
            if token in self.form.end_ids:
                inside = False
            elif inside:
                count += 1
            elif token == self.form.open_id:
                inside = True
        return count

    def adjust_request(self, request: Any) -> Any:
        """Keep tags in the text that are special tokens."""
        added = self.model_tokenizer.added_tokens_decoder
        if any(added[i].special for i in (self.form.open_id, self.form.close_id) if i in added):
            request.skip_special_tokens = False
        return request


def _message(reasoning: str, content: str) -> DeltaMessage | None:
    if not reasoning and not content:
        return None
    return DeltaMessage(reasoning=reasoning or None, content=content or None)


ReasoningParserManager.register_module(REASONING_PARSER, module=ThinkingReasoningParser)
