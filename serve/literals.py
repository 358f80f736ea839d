"""Control tokens that are written out in a request's text stay text.

A user can type `<|im_end|>` or `</think>`, and so can the author of a tool's description. Tokenised with the
rendered prompt, that would be a control token: it could end the turn or fake thinking. Every such literal in
messages, tools, documents and template variables is broken by a sentinel before the template runs; the
rendered prompt is tokenised piece by piece between the sentinels. The model sees the same characters, spelt
with ordinary tokens. A text that ends like the beginning of a literal is broken there too: the next may be
its end.
"""

import json
import re
import secrets
from dataclasses import replace
from typing import Any, ClassVar

from vllm.exceptions import VLLMValidationError
from vllm.renderers import ChatParams
from vllm.renderers.base import BaseRenderer
from vllm.renderers.deepseek_v4 import DeepseekV4Renderer
from vllm.renderers.deepseek_v32 import DeepseekV32Renderer
from vllm.renderers.hf import HfRenderer
from vllm.utils.async_utils import make_async

ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""Roles stand beside control tokens in templates, and some templates print them as they are."""


MEDIA = frozenset(
    {"url", "data", "image_url", "audio_url", "video_url", "image_embeds", "audio_embeds", "uuid"}
)
"""Members of a message's parts that are fetched or decoded; templates get placeholders in their place."""


class Literals:
    """The texts of a tokenizer's control tokens, and how they are broken in other texts.

    names: of all added tokens. normalized: those that are looked for in normalised text. normalizer: of the
    tokenizer, if it has one. most: literals that a text may hold; each is a token at least.
    """

    def __init__(self, names: set[str], normalized: set[str], normalizer: Any, most: int) -> None:
        # Unguessable, so no message can hold it, and plain letters, so no template filter changes it.
        self.sentinel = f"x{secrets.token_hex(16)}x"
        # Runs of spaces and single letters are vocabulary, not control.
        names = {name for name in names if len(name) > 1 and name.strip()}
        ordered = sorted(names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        marks = [name for name in names if not name[0].isalnum()]
        self._beginnings = {name[:end] for name in marks for end in range(1, len(name))}
        self._longest = max(map(len, self._beginnings), default=0)
        self._most = most
        self._normalizer = normalizer if normalized else None
        self._normalized = normalized | {normalizer.normalize_str(name) for name in normalized if normalizer}

    def __bool__(self) -> bool:
        return self._pattern is not None

    def broken(self, text: str) -> str:
        """The text with the sentinel inside each literal, and behind what may become one."""
        assert self._pattern is not None
        found = 1
        while found:  # again, as literals may overlap
            text, found = self._pattern.subn(self._split, text, count=self._most + 1)
            if found > self._most:
                raise _too_many(self._most)
        if self._normalizer is not None:
            text = self.sentinel.join(map(self._spelt, text.split(self.sentinel)))
        ends = (text[-size:] for size in range(1, min(self._longest, len(text)) + 1))
        return text + self.sentinel if any(end in self._beginnings for end in ends) else text

    def _split(self, match: re.Match[str]) -> str:
        return match[0][0] + self.sentinel + match[0][1:]

    def _spelt(self, piece: str) -> str:
        """A piece letter by letter, if normalising makes a literal of it, as of full-width letters."""
        assert self._normalizer is not None
        plain = self._normalizer.normalize_str(piece)
        return self.sentinel.join(piece) if any(name in plain for name in self._normalized) else piece

    def broken_all(self, value: Any) -> Any:
        """A value of JSON with its texts broken, the names of members too."""
        if isinstance(value, str):
            return self.broken(value)
        if isinstance(value, dict):
            return {self.broken_all(name): self.broken_all(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.broken_all(item) for item in value]
        return value

    def whole(self, value: Any) -> Any:
        """The value as it was."""
        if isinstance(value, str):
            return value.replace(self.sentinel, "")
        if isinstance(value, dict):
            return {self.whole(key): self.whole(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.whole(item) for item in value]
        return value


class LiteralSafe(BaseRenderer[Any]):
    """Over a renderer of vLLM's whose templates make text: what a request says cannot hold control tokens.

    tags: the tags of the served model's thinking, if it thinks.
    """

    tags: ClassVar[tuple[str, str] | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._literals = _literals_of(self.tokenizer, self.model_config.max_model_len)
        self._encode_async = make_async(self._encode, executor=self._executor)
        # Not in the event loop: a request may be megabytes long.
        self._broken_async = make_async(self._broken, executor=self._executor)

    def render_messages(self, messages: Any, params: Any) -> Any:
        if not self._literals:
            return super().render_messages(messages, params)
        conversation, prompt = super().render_messages(*self._broken(messages, params))
        text = self._broken_text(prompt)
        if text is not None:
            self._fill(prompt, text, self._encode(text))
        return self._literals.whole(conversation), prompt

    async def render_messages_async(self, messages: Any, params: Any) -> Any:
        if not self._literals:
            return await super().render_messages_async(messages, params)
        broken = await self._broken_async(messages, params)
        conversation, prompt = await super().render_messages_async(*broken)
        text = self._broken_text(prompt)
        if text is not None:
            self._fill(prompt, text, await self._encode_async(text))
        return self._literals.whole(conversation), prompt

    def _broken(self, messages: Any, params: ChatParams) -> tuple[list[Any], ChatParams]:
        try:
            variables = {
                name: self._literals.broken_all(it) for name, it in params.chat_template_kwargs.items()
            }
            broken = [self._broken_message(message) for message in messages]
        except RecursionError:
            raise VLLMValidationError(
                "messages, tools or chat_template_kwargs are nested too deeply", parameter="messages"
            ) from None
        # As text, whatever the request says: of token ids none can be taken back.
        return broken, replace(params, chat_template_kwargs={**variables, "tokenize": False})

    def _broken_message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            raise VLLMValidationError(
                "a message is in OpenAI's harmony format, which this model's template does not take; "
                "give role and content",
                parameter="messages",
            )
        role = message.get("role")
        if isinstance(role, str) and not ROLE.fullmatch(role):
            raise VLLMValidationError(
                f"a message's role is {role!r}; it must be a word, such as user or assistant",
                parameter="messages",
            )
        broken = {name: self._broken_member(name, item) for name, item in message.items() if name != "role"}
        content = message.get("content")
        if role == "assistant" and isinstance(content, str):
            broken["content"] = self._broken_reply(content)
        return {"role": role, **broken} if "role" in message else broken

    def _broken_member(self, name: str, value: Any) -> Any:
        if name in MEDIA and isinstance(value, str):
            return value
        if name == "arguments" and isinstance(value, str):
            return self._broken_json(value)
        if isinstance(value, dict):
            return {self._literals.broken(key): self._broken_member(key, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._broken_member(name, item) for item in value]
        return self._literals.broken_all(value)

    def _broken_json(self, text: str) -> str:
        """JSON with its texts broken as they are, not as they are escaped: `\\u003c` is a `<`."""
        try:
            value = json.loads(text)
        except ValueError as error:
            if not isinstance(error, json.JSONDecodeError):
                raise VLLMValidationError(
                    f"the arguments of a tool call cannot be read: {error}", parameter="messages"
                ) from None
            return self._literals.broken(text)  # vLLM makes an empty object of it
        broken = self._literals.broken_all(value)
        return text if broken == value else json.dumps(broken, ensure_ascii=False)

    def _broken_reply(self, text: str) -> str:
        """An earlier reply. Templates take the thinking off by its tags, so those of its first block stay."""
        if self.tags is None or not text.lstrip().startswith(self.tags[0]):
            return self._literals.broken(text)
        before, close, after = text.partition(self.tags[1])
        if not close:
            return self._literals.broken(text)
        space, opening, inner = before.partition(self.tags[0])
        return space + opening + self._literals.broken(inner) + close + self._literals.broken(after)

    def _broken_text(self, prompt: Any) -> str | None:
        text = prompt.get("prompt")
        return text if isinstance(text, str) and self._literals.sentinel in text else None

    def _fill(self, prompt: Any, text: str, ids: list[int]) -> None:
        prompt["prompt"] = self._literals.whole(text)
        prompt["prompt_token_ids"] = ids

    def _encode(self, text: str) -> list[int]:
        tokenizer = self.get_tokenizer()
        pieces = text.split(self._literals.sentinel)
        if len(pieces) > self.model_config.max_model_len:
            raise _too_many(self.model_config.max_model_len)
        return [i for piece in pieces for i in tokenizer.encode(piece, add_special_tokens=False)]


def _too_many(most: int) -> VLLMValidationError:
    return VLLMValidationError(
        f"the request writes out more control tokens than the model's context holds tokens ({most})",
        parameter="messages",
    )


def _literals_of(tokenizer: Any, most: int) -> Literals:
    if tokenizer is None:
        return Literals(set(), set(), None, most)
    names = set(tokenizer.get_added_vocab())
    tokens = getattr(tokenizer, "added_tokens_decoder", {}).values()
    backend = getattr(tokenizer, "backend_tokenizer", None)
    normalized = {token.content for token in tokens if token.normalized}
    return Literals(names, normalized, getattr(backend, "normalizer", None), most)


class SafeHfRenderer(LiteralSafe, HfRenderer):
    """Jinja templates."""


class SafeDeepseekV32Renderer(LiteralSafe, DeepseekV32Renderer):
    """DeepSeek V3.2, whose prompts Python code writes."""


class SafeDeepseekV4Renderer(LiteralSafe, DeepseekV4Renderer):
    """DeepSeek V4."""


RENDERERS: dict[str, type[LiteralSafe]] = {
    "hf": SafeHfRenderer,
    "kimi_audio": SafeHfRenderer,
    "deepseek_v32": SafeDeepseekV32Renderer,
    "deepseek_v4": SafeDeepseekV4Renderer,
    "deepseek_v41": SafeDeepseekV4Renderer,
}
"""By vLLM's tokenizer mode. Of the others mistral, inkling and kimi_k3 make tokens, not text, and cohere
(`--tokenizer-mode cohere`) makes text that is not guarded."""
