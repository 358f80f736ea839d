"""What thinking adds to the responses of each API: reports, exact usage, the thinking id, hidden thinking.

A `Reporter` works on the parsed objects of one response: on the whole of a JSON body, or on the data of one
server-sent event after the other. It alone knows how the API's handler names its engine requests.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from serve.trace import LiveThinking, ThinkingTracker

Json = dict[str, Any]

REASONING = re.compile(rb'"reasoning":("[^"\\]*(?:\\.[^"\\]*)*")')
"""A member `reasoning` in JSON bytes, and its value. Inside a string its quotes would be escaped."""


class Reporter:
    """One response. hidden: its thinking must not be shown.

    response_id: the id that the API's handler gave to the response, once it has been seen.
    on_id: is called with it then.
    """

    on_id: Callable[[str], None] | None = None

    def __init__(self, live: LiveThinking, thinking_id: str, hidden: bool) -> None:
        self.trackers = live.trackers
        self.thinking_id = thinking_id
        self.hidden = hidden
        self.response_id: str | None = None

    def found(self, response_id: str) -> None:
        if self.response_id is None:
            self.response_id = response_id
            if self.on_id is not None:
                self.on_id(response_id)

    def whole(self, payload: Json) -> None:
        """Annotate the object of a JSON response."""
        raise NotImplementedError

    def quick(self, event: bytes) -> bytes | None:
        """A server-sent event annotated without parsing it, as most can be; None if it must be parsed."""
        raise NotImplementedError

    def event(self, payload: Json) -> bool:
        """Annotate the data of a server-sent event; False if it must not be sent."""
        raise NotImplementedError


class ChoicesReporter(Reporter):
    """Responses with `choices`: chat and text completions, batches of chats, vLLM's tokens in, tokens out."""

    def quick(self, event: bytes) -> bytes | None:
        if self.response_id is None or b'"finish_reason":null' not in event or b'"usage":' in event:
            return None
        if b'"reasoning":' not in event:
            return event
        if self.hidden or not all(tracker.opened for tracker in self.trackers.values()):
            return None
        return REASONING.sub(rb'\g<0>,"reasoning_content":\1', event, count=1)

    def whole(self, payload: Json) -> None:
        choices = payload.get("choices")
        if choices is None:
            return  # an error
        self.found(self._id(payload))
        for choice in choices:
            self._choice(choice, choice.get("message"))
        self._usage(payload, self.trackers.values())

    def event(self, payload: Json) -> bool:
        choices = payload.get("choices")
        if choices is None:
            return True  # an error
        first = self.response_id is None
        self.found(self._id(payload))
        emptied = [self._choice(choice, choice.get("delta")) for choice in choices]
        if first and choices:
            choices[0]["thinking"] = {"id": self.thinking_id, **choices[0].get("thinking", {})}
        if choices:
            found = [self._tracker(choice["index"]) for choice in choices]
            self._usage(payload, [tracker for tracker in found if tracker is not None])
        else:
            self._usage(payload, self.trackers.values())
        return first or not emptied or not all(emptied) or bool(payload.get("usage"))

    def _id(self, payload: Json) -> str:
        return payload["id"]

    def _choice(self, choice: Json, message: Json | None) -> bool:
        """Annotate a choice; True if nothing is left of it."""
        tracker = self._tracker(choice["index"])
        emptied = False
        if message is not None and "reasoning" in message:
            if message["reasoning"] and tracker is not None and _thought_nothing([tracker]):
                message["content"] = message["reasoning"] + (message.get("content") or "")
                message["reasoning"] = None
            if self.hidden:
                message["reasoning"] = None
                emptied = not any(message.values()) and choice.get("finish_reason") is None
            message["reasoning_content"] = message["reasoning"]
        if choice.get("finish_reason") is not None and tracker is not None:
            choice["thinking"] = tracker.report().as_dict()
        return emptied

    def _usage(self, payload: Json, trackers: Iterable[ThinkingTracker]) -> None:
        if payload.get("usage"):
            details = payload["usage"].get("completion_tokens_details") or {}
            # A chunk may be older than its tracker.
            tokens = min(sum(t.tokens for t in trackers), payload["usage"]["completion_tokens"])
            payload["usage"]["completion_tokens_details"] = {**details, "reasoning_tokens": tokens}

    def _tracker(self, index: int) -> ThinkingTracker | None:
        return self.trackers.get(self._key(index))

    def _key(self, index: int) -> tuple[str, int]:
        """Request id and index that the engine saw for a choice."""
        assert self.response_id is not None
        return self.response_id, index


class BatchReporter(ChoicesReporter):
    """A batch of chats: one engine request each."""

    def _key(self, index: int) -> tuple[str, int]:
        return f"{self.response_id}_{index}", 0


class CompletionsReporter(ChoicesReporter):
    """Text completions: one engine request for each prompt, with n choices."""

    _n = 0

    def _key(self, index: int) -> tuple[str, int]:
        if not self._n:
            requests = [request_id for request_id, _ in self.trackers]
            self._n = requests.count(requests[0]) if requests else 1
        return f"{self.response_id}-{index // self._n}", index % self._n


class TokensReporter(ChoicesReporter):
    """vLLM's tokens in, tokens out."""

    def _id(self, payload: Json) -> str:
        return payload["request_id"]


class ResponsesReporter(Reporter):
    """OpenAI's responses. Built-in tools make several engine requests; the report is the last one's."""

    def __init__(self, live: LiveThinking, thinking_id: str, hidden: bool) -> None:
        super().__init__(live, thinking_id, hidden)
        self._hidden_items: set[int] = set()
        self._plain_items: set[int] = set()

    def quick(self, event: bytes) -> bytes | None:
        named = (
            b"event: response.created\n",
            b"event: response.completed\n",
            b"event: response.output_item.added\n",
        )
        return None if self.hidden or self._plain_items or event.startswith(named) else event

    def whole(self, payload: Json) -> None:
        if payload.get("object") != "response":
            return  # an error
        self.found(payload["id"])
        trackers = self._trackers()
        if payload["status"] in ("queued", "in_progress"):
            payload["thinking"] = {"id": self.thinking_id}
        elif trackers:
            payload["thinking"] = trackers[-1].report().as_dict()
        if payload.get("usage"):
            details = payload["usage"]["output_tokens_details"]
            details["reasoning_tokens"] = sum(tracker.tokens for tracker in trackers)
        items = [_as_message(item) if self._plain(item) else item for item in payload["output"]]
        payload["output"] = [item for item in items if not (self.hidden and item["type"] == "reasoning")]

    def event(self, payload: Json) -> bool:
        if payload["type"] in ("response.created", "response.completed"):
            self.whole(payload["response"])
        if "output_index" not in payload:
            return True
        index = payload["output_index"]
        item = payload.get("item", {})
        if index in self._plain_items or self._plain(item):
            self._plain_items.add(index)
            payload["type"] = payload["type"].replace("reasoning_text", "output_text")
            if item:
                payload["item"] = _as_message(item)
            elif "part" in payload:
                payload["part"] = _as_text(payload["part"])
            else:
                payload["logprobs"] = []
        elif self.hidden and item.get("type") == "reasoning":
            self._hidden_items.add(index)
        # Sequence numbers keep their gaps, as `starting_after` refers to them.
        payload["output_index"] = index - sum(hidden < index for hidden in self._hidden_items)
        return index not in self._hidden_items

    def _trackers(self) -> list[ThinkingTracker]:
        return [t for (name, _), t in self.trackers.items() if name.startswith(f"{self.response_id}_")]

    def _plain(self, item: Json) -> bool:
        return item.get("type") == "reasoning" and _thought_nothing(self._trackers())


class MessagesReporter(Reporter):
    """Anthropic's messages. Hidden thinking leaves an empty block with its signature, as theirs does."""

    def __init__(self, live: LiveThinking, thinking_id: str, hidden: bool) -> None:
        super().__init__(live, thinking_id, hidden)
        self._plain_blocks: set[int] = set()

    def quick(self, event: bytes) -> bytes | None:
        named = (
            b"event: message_start\n",
            b"event: message_delta\n",
            b"event: content_block_start\n",
        )
        parse = (
            event.startswith(named) or self._plain_blocks or (self.hidden and b'"thinking_delta"' in event)
        )
        return None if parse else event

    def whole(self, payload: Json) -> None:
        if payload.get("type") != "message":
            return  # an error
        self.found(payload["id"])
        self._report(payload)
        for block in payload["content"]:
            if block["type"] == "thinking":
                if self._plain():
                    block.update(type="text", text=block.pop("thinking"))
                    del block["signature"]
                elif self.hidden:
                    block["thinking"] = ""

    def event(self, payload: Json) -> bool:
        kind = payload["type"]
        delta = payload.get("delta", {})
        if kind == "message_start":
            self.found(payload["message"]["id"])
            payload["message"]["thinking"] = {"id": self.thinking_id}
        elif kind == "message_delta":
            self._report(payload)
        elif kind == "content_block_start" and payload["content_block"]["type"] == "thinking":
            if self._plain():
                self._plain_blocks.add(payload["index"])
                payload["content_block"] = {"type": "text", "text": ""}
        elif payload.get("index") in self._plain_blocks:
            if delta.get("type") == "signature_delta":
                return False
            if delta.get("type") == "thinking_delta":
                payload["delta"] = {"type": "text_delta", "text": delta["thinking"]}
        elif self.hidden:
            return delta.get("type") != "thinking_delta"
        return True

    def _tracker(self) -> ThinkingTracker | None:
        return self.trackers.get((str(self.response_id), 0))

    def _plain(self) -> bool:
        tracker = self._tracker()
        return tracker is not None and _thought_nothing([tracker])

    def _report(self, payload: Json) -> None:
        """Put the report and the exact usage into a message, or into the event that ends it."""
        tracker = self._tracker()
        if tracker is not None:
            payload["thinking"] = tracker.report().as_dict()
            payload["usage"]["output_tokens_details"] = {"thinking_tokens": tracker.tokens}


def _thought_nothing(trackers: list[ThinkingTracker]) -> bool:
    """Whether what vLLM's parser shows as thinking is none: it takes a reply without tags for thinking."""
    return bool(trackers) and not any(tracker.opened for tracker in trackers)


def _as_message(item: Json) -> Json:
    """A reasoning item of a response as a message item."""
    content = [_as_text(part) for part in item["content"] or []]
    return {
        "id": item["id"],
        "content": content,
        "role": "assistant",
        "status": item["status"] or "completed",
        "type": "message",
        "phase": None,
    }


def _as_text(part: Json) -> Json:
    return {"annotations": [], "text": part["text"], "type": "output_text", "logprobs": []}
