"""Counting thinking tokens in a prompt and in a growing reply. Pure: token ids in, decisions out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Literal

from serve.formats import ThinkingFormat

StopCause = Literal["natural", "budget", "length", "disabled"]
PromptState = Literal["fresh", "thinking", "answering", "disabled"]


@dataclass(frozen=True, slots=True)
class ThinkingReport:
    """How the thinking of one choice went.

    stop_cause: why it ended. budget: what was asked; None is no limit.
    tokens: generated after an open tag and before its close tag.
    inserted_tokens: inserted at the cut, part of the reply but not generated.
    """

    stop_cause: StopCause
    budget: int | None
    tokens: int
    inserted_tokens: int

    def as_dict(self) -> dict[str, str | int | None]:
        return asdict(self)


def prompt_state(prompt_ids: Sequence[int], form: ThinkingFormat) -> PromptState:
    """Where a prompt leaves the model, seen from the last turn it holds.

    "thinking": inside an open block. "disabled": right after an empty block.
    "answering": after a block that holds thinking. "fresh": no block, or text after the last block.
    """
    after_close: list[int] = []
    closed = False
    inside: list[int] = []
    for token in reversed(prompt_ids):
        if token in form.turn_end_ids:
            return "fresh"
        if token == form.open_id:
            if not closed:
                return "thinking"
            if _is_blank(after_close, form):
                return "disabled" if _is_blank(inside, form) else "answering"
            return "fresh"
        if token == form.close_id and not closed:
            closed = True
        elif closed:
            inside.append(token)
        else:
            after_close.append(token)
    return "answering" if closed and _is_blank(after_close, form) else "fresh"


def _is_blank(reversed_ids: list[int], form: ThinkingFormat) -> bool:
    return not form.decode(tuple(reversed(reversed_ids)), skip_special_tokens=False).strip()


class ThinkingTracker:
    """Follows the reply of one choice, token by token, and says where its budget ends.

    tokens: thinking tokens so far, over all blocks. in_block: the last token leaves a block open.
    opened: there has been a block. on_stop: called by `stop`; set by who generates the choice.
    """

    on_stop: Callable[[], None] | None = None

    def __init__(self, form: ThinkingFormat, state: PromptState, budget: int | None) -> None:
        self.form = form
        self.budget = budget
        self.in_block = state == "thinking"
        self.opened = self.in_block
        self.tokens = 0
        self.inserted = 0
        self.cut = False
        self._disabled = state == "disabled" or budget == 0
        self._length = False

    @property
    def spent(self) -> bool:
        """No thinking token is left."""
        return self.tokens == self.budget

    @property
    def left(self) -> int:
        """Thinking tokens left of a budget that is not None."""
        assert self.budget is not None
        return self.budget - self.tokens

    def feed(
        self, token_ids: Sequence[int], *, stopped: bool = False, until_open: bool = False
    ) -> int | None:
        """Count new tokens up to the first that the budget forbids.

        stopped: the last token ended the reply (end of turn or a stop token), so it is no thinking.
        until_open: stop after an open tag too.
        Returns how many of `token_ids` were counted, or None if all may stay. If the budget is spent then and
        a block is open, the next token is one too many; if none is open, the next token is an open tag.
        """
        last = len(token_ids) - 1
        for position, token in enumerate(token_ids):
            if token == self.form.close_id:
                self.in_block = False
            elif stopped and position == last:
                continue
            elif self.in_block:
                if self.spent:
                    return position
                self.tokens += 1
            elif token == self.form.open_id:
                if self.spent:
                    return position
                self.in_block = self.opened = True
                if until_open:
                    return position + 1
        return None

    def close(self, inserted: int) -> None:
        """Note that the open block was cut by inserting `inserted` tokens."""
        self.in_block = False
        self.cut = True
        self.inserted += inserted

    def stop(self) -> bool:
        """End the thinking of this choice now, on the client's wish; False if it has ended already."""
        if self.on_stop is None:
            return False
        self.on_stop()
        return True

    def finish(self, reason: str | None) -> ThinkingReport:
        """The report, once the reply has ended with vLLM's finish reason `reason`."""
        self._length = self.in_block and reason == "length"
        return self.report()

    def report(self) -> ThinkingReport:
        cause: StopCause = "natural"
        if self._length:
            cause = "length"
        elif self.cut:
            cause = "budget"
        elif self._disabled and self.tokens == 0:
            cause = "disabled"
        return ThinkingReport(cause, self.budget, self.tokens, self.inserted)


@dataclass(eq=False, slots=True)
class LiveThinking:
    """The choices of one HTTP request while it runs.

    arrival: when it came, on the monotonic clock; deadlines count from here.
    trackers: by request id and index, as the engine sees them; filled when generation starts.
    stop_asked: the client wants the answer now.
    """

    arrival: float = field(default_factory=monotonic)
    trackers: dict[tuple[str, int], ThinkingTracker] = field(default_factory=dict)
    stop_asked: bool = False

    def stop(self) -> int:
        """Ask for the answer now. Returns how many choices were still thinking."""
        self.stop_asked = True
        return sum(tracker.stop() for tracker in self.trackers.values())
