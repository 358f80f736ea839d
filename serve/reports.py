"""What thinking adds to the responses of each API: reports, exact usage, the thinking id, hidden thinking.

A `Reporter` works on the parsed objects of one response: on the whole of a JSON body, or on the data of one
server-sent event after the other. It alone knows how the API's handler names its engine requests.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from serve import failures
from serve.trace import LiveThinking, ThinkingTracker

Json = dict[str, Any]

REASONING = re.compile(rb'"reasoning":("[^"\\]*(?:\\.[^"\\]*)*")')
"""A member `reasoning` in JSON bytes, and its value. Inside a string its quotes would be escaped."""


class Reporter(ABC):
    """One response. hidden: its thinking must not be shown. measured: the entropy of its thinking is told.

    response_id: the id that the API's handler gave to the response, once it has been seen.
    on_id: is called with it then. failure: the data of the event that ends a stream which cannot go on.
    """

    on_id: Callable[[str], None] | None = None
    failure: Callable[[bytes], Json] = staticmethod(failures.choices)

    def __init__(self, live: LiveThinking, thinking_id: str, hidden: bool, measured: bool = False) -> None:
        self.trackers = live.trackers
        self.thinking_id = thinking_id
        self.hidden = hidden
        self.measured = measured
        self.response_id: str | None = None

    def found(self, response_id: str) -> None:
        if self.response_id is None:
            self.response_id = response_id
            if self.on_id is not None:
                self.on_id(response_id)

    def report(self, tracker: ThinkingTracker) -> Json:
        """The report of a choice. Of hidden thinking it does not tell the text."""
        report = tracker.report().as_dict()
        if self.hidden and "entropy" in report:
            report["entropy"]["texts"] = None
        return report

    def entropy(self, trackers: Iterable[ThinkingTracker | None]) -> Json | None:
        """What an event tells of its thinking tokens; None if it has none, or thinking is hidden.

        Events of several choices may be a step behind their engine requests: then it is early, never lost.
        """
        if not self.measured or self.hidden:
            return None
        for tracker in trackers:
            if tracker is not None and tracker.entropy is not None and (new := tracker.entropy.take()):
                return {"entropy": new}
        return None

    @abstractmethod
    def whole(self, payload: Json) -> None:
        """Annotate the object of a JSON response."""

    @abstractmethod
    def quick(self, event: bytes) -> bytes | None:
        """A server-sent event annotated without parsing it, as most can be; None if it must be parsed."""

    @abstractmethod
    def event(self, payload: Json) -> bool:
        """Annotate the data of a server-sent event; False if it must not be sent."""


class ChoicesReporter(Reporter):
    """Responses with `choices`: chat and text completions, batches of chats, vLLM's tokens in, tokens out."""

    def quick(self, event: bytes) -> bytes | None:
        parsed = self.response_id is None or self.measured
        if parsed or b'"finish_reason":null' not in event or b'"usage":' in event:
            return None
        if b'"reasoning":' not in event:
            return event
        if self.hidden:
            return None
        return REASONING.sub(rb'\g<0>,"reasoning_content":\1', event, count=1)

    def whole(self, payload: Json) -> None:
        choices = payload.get("choices")
        if choices is None:
            return  # an error
        self.found(self._id(payload))
        for choice in choices:
            message, tracker = choice.get("message"), self._tracker(choice["index"])
            if message is not None and message["reasoning"] and thought_nothing(tracker):
                message["content"] = message["reasoning"] + (message["content"] or "")
                message["reasoning"] = None
            self._choice(choice, message)
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
            if self.hidden:
                message["reasoning"] = None
                emptied = not any(message.values()) and choice.get("finish_reason") is None
            message["reasoning_content"] = message["reasoning"]
        if choice.get("finish_reason") is not None and tracker is not None:
            choice["thinking"] = self.report(tracker)
        elif told := self.entropy([tracker]):
            choice["thinking"] = told
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

    failure = staticmethod(failures.responses)

    def __init__(self, live: LiveThinking, thinking_id: str, hidden: bool, measured: bool = False) -> None:
        super().__init__(live, thinking_id, hidden, measured)
        self._hidden_items: set[int] = set()

    def quick(self, event: bytes) -> bytes | None:
        named = (b"event: response.created\n", b"event: response.completed\n")
        return None if self.hidden or self.measured or event.startswith(named) else event

    def whole(self, payload: Json) -> None:
        if payload.get("object") != "response":
            return  # an error
        self._annotate(payload)
        trackers = self._trackers()
        if trackers and all(map(thought_nothing, trackers)):
            payload["output"] = [_as_message(item) for item in payload["output"]]

    def event(self, payload: Json) -> bool:
        if payload["type"] in ("response.created", "response.completed"):
            self._annotate(payload["response"])
        elif payload["type"].endswith(".delta") and (told := self.entropy(self._trackers())):
            payload["thinking"] = told
        if not self.hidden or "output_index" not in payload:
            return True
        index = payload["output_index"]
        if payload.get("item", {}).get("type") == "reasoning":
            self._hidden_items.add(index)
        # Sequence numbers keep their gaps, as `starting_after` refers to them.
        payload["output_index"] = index - sum(hidden < index for hidden in self._hidden_items)
        return index not in self._hidden_items

    def _annotate(self, response: Json) -> None:
        self.found(response["id"])
        trackers = self._trackers()
        if response["status"] in ("queued", "in_progress"):
            response["thinking"] = {"id": self.thinking_id}
        elif trackers:
            response["thinking"] = self.report(trackers[-1])
        if response.get("usage"):
            details = response["usage"]["output_tokens_details"]
            details["reasoning_tokens"] = sum(tracker.tokens for tracker in trackers)
        if self.hidden and not (trackers and all(map(thought_nothing, trackers))):
            response["output"] = [item for item in response["output"] if item["type"] != "reasoning"]

    def _trackers(self) -> list[ThinkingTracker]:
        return [t for (name, _), t in self.trackers.items() if name.startswith(f"{self.response_id}_")]


class MessagesReporter(Reporter):
    """Anthropic's messages. Hidden thinking leaves an empty block with its signature, as theirs does."""

    failure = staticmethod(failures.messages)

    def quick(self, event: bytes) -> bytes | None:
        parsed = (b"event: message_start\n", b"event: message_delta\n", b"event: error\n")
        if self.measured or event.startswith(parsed):
            return None
        return None if self.hidden and b'"thinking_delta"' in event else event

    def whole(self, payload: Json) -> None:
        if payload.get("type") != "message":
            return  # an error
        self.found(payload["id"])
        self._report(payload)
        for block in payload["content"]:
            if block["type"] == "thinking" and thought_nothing(self._tracker()):
                block.update(type="text", text=block.pop("thinking"))
                del block["signature"]
            elif block["type"] == "thinking" and self.hidden:
                block["thinking"] = ""

    def event(self, payload: Json) -> bool:
        if payload["type"] == "message_start":
            self.found(payload["message"]["id"])
            payload["message"]["thinking"] = {"id": self.thinking_id}
        elif payload["type"] == "message_delta":
            self._report(payload)
        elif payload["type"] == "error":
            # vLLM tells here that it cannot read the error of its own chat handler.
            payload.update(self.failure(b""))
        elif payload["type"] == "content_block_delta" and (told := self.entropy([self._tracker()])):
            payload["thinking"] = told
        return not (self.hidden and payload.get("delta", {}).get("type") == "thinking_delta")

    def _tracker(self) -> ThinkingTracker | None:
        return self.trackers.get((str(self.response_id), 0))

    def _report(self, payload: Json) -> None:
        """Put the report and the exact usage into a message, or into the event that ends it."""
        tracker = self._tracker()
        if tracker is not None:
            payload["thinking"] = self.report(tracker)
            payload["usage"]["output_tokens_details"] = {"thinking_tokens": tracker.tokens}


def thought_nothing(tracker: ThinkingTracker | None) -> bool:
    """Whether what a parser shows as thinking is none.

    For replies that are not streamed, parsers do not know the prompt: they take what stands before a close
    tag for thinking even where no block was opened.
    """
    return tracker is not None and not tracker.opened


def _as_message(item: Json) -> Json:
    """A reasoning item of a response as a message item; others as they are."""
    if item["type"] != "reasoning":
        return item
    texts = [part["text"] for part in item["content"] or []]
    parts = [{"annotations": [], "text": text, "type": "output_text", "logprobs": None} for text in texts]
    return {
        "id": item["id"],
        "content": parts,
        "role": "assistant",
        "status": "completed",
        "type": "message",
        "phase": None,
    }
