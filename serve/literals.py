"""Control tokens that are written out in message text stay text.

A user can type `<|im_end|>` or `</think>`. Tokenised with the rendered prompt, that would be a control token:
it could end the turn or fake thinking. Every such literal in message text is broken by a sentinel before the
template runs; the rendered prompt is tokenised piece by piece between the sentinels. The model sees the same
characters, spelt with ordinary tokens.
"""

import re
import secrets
from typing import Any, ClassVar

from vllm.exceptions import VLLMValidationError
from vllm.renderers.hf import HfRenderer
from vllm.utils.async_utils import make_async

TEXT_KEYS = frozenset(
    {"content", "text", "reasoning", "reasoning_content", "thinking", "arguments", "refusal"}
)


class LiteralSafeRenderer(HfRenderer):
    """vLLM's renderer of Hugging Face templates; message text cannot hold control tokens.

    tags: the tags of the served model's thinking, if it thinks.
    """

    tags: ClassVar[tuple[str, str] | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Unguessable, so no message can hold it, and plain letters, so no template filter changes it.
        self._sentinel = f"x{secrets.token_hex(16)}x"
        self._literals: re.Pattern[str] | None = None
        if self.tokenizer is not None:
            names = sorted(self.tokenizer.get_added_vocab(), key=len, reverse=True)
            self._literals = re.compile("|".join(map(re.escape, names))) if names else None
        self._encode_async = make_async(self._encode, executor=self._executor)

    def render_messages(self, messages: Any, params: Any) -> Any:
        marked = self._mark(messages)
        conversation, prompt = super().render_messages(marked, params)
        text = self._marked_text(prompt)
        if text is not None:
            self._fill(prompt, text, self._encode(text))
        return self._clean(conversation), prompt

    async def render_messages_async(self, messages: Any, params: Any) -> Any:
        marked = self._mark(messages)
        conversation, prompt = await super().render_messages_async(marked, params)
        text = self._marked_text(prompt)
        if text is not None:
            self._fill(prompt, text, await self._encode_async(text))
        return self._clean(conversation), prompt

    def _mark(self, messages: Any) -> Any:
        """The messages with the sentinel after the first character of each literal."""
        return [self._mark_message(message) for message in messages] if self._literals else messages

    def _mark_message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            raise VLLMValidationError(
                "a message is in OpenAI's harmony format, which this model's template does not take; "
                "give role and content",
                parameter="messages",
            )
        marked = {key: self._mark_value(value, key) for key, value in message.items()}
        content = message.get("content")
        if message.get("role") == "assistant" and isinstance(content, str):
            # Templates take the thinking of earlier turns off by its tags.
            block, rest = self._split_block(content)
            marked["content"] = block + self._mark_text(rest)
        return marked

    def _split_block(self, text: str) -> tuple[str, str]:
        """A block of thinking that a text begins with, and the rest."""
        if self.tags is None or not text.lstrip().startswith(self.tags[0]):
            return "", text
        before, close, after = text.partition(self.tags[1])
        return (before + close, after) if close else ("", text)

    def _mark_value(self, value: Any, key: str) -> Any:
        if isinstance(value, str):
            return self._mark_text(value) if key in TEXT_KEYS else value
        if isinstance(value, dict):
            return {name: self._mark_value(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._mark_value(item, key) for item in value]
        return value

    def _mark_text(self, text: str) -> str:
        assert self._literals is not None
        return self._literals.sub(lambda match: match[0][0] + self._sentinel + match[0][1:], text)

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(self._sentinel, "")
        if isinstance(value, dict):
            return {key: self._clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._clean(item) for item in value]
        return value

    def _marked_text(self, prompt: Any) -> str | None:
        text = prompt.get("prompt")
        return text if isinstance(text, str) and self._sentinel in text else None

    def _fill(self, prompt: Any, text: str, ids: list[int]) -> None:
        prompt["prompt"] = text.replace(self._sentinel, "")
        prompt["prompt_token_ids"] = ids

    def _encode(self, text: str) -> list[int]:
        tokenizer = self.get_tokenizer()
        pieces = text.split(self._sentinel)
        return [i for piece in pieces for i in tokenizer.encode(piece, add_special_tokens=False)]
