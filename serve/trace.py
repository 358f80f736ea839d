"""Counting thinking tokens in a growing reply. Token ids in, decisions out."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any, Literal

from serve.budget import ThinkingBudget
from serve.entropy import EntropyReport, EntropyTrace, Measured
from serve.formats import ThinkingFormat
from serve.grants import Grant, LoweredBy
from serve.prompts import PromptState
from serve.stops import LAST_TOKENS, CycleDetector, sentence_ends

StopCause = Literal[
    "natural", "budget", "deadline", "soft", "loop", "confident", "client", "length", "disabled"
]
Action = Literal["cut", "wait", "bar", "split", "probe"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a reply cannot simply go on: its next `keep` tokens stay, and then `action` is due.

    cut: thinking stops here. wait: thinking ended too early and must go on. bar: an open tag may not follow.
    split: a block has been opened. probe: it is time to try the answer.
    """

    keep: int
    action: Action


@dataclass(frozen=True, slots=True)
class ThinkingReport:
    """How the thinking of one choice went.

    stop_cause: why it ended. budget: what was in force; None is no limit.
    tokens: generated after an open tag and before its close tag, or before a tool call that takes its place.
    inserted_tokens: inserted into the reply, not generated. blocks: how many there were.
    seconds: from the request's arrival to the end of this choice.
    The rest is told only of what was in force: requested_budget and lowered_by when the budget is less than
    asked; effort; calibrated, of an effort, a target accuracy or a cost: whether the budget was measured on
    this model; expected_accuracy under the budget, by its profile; deadline in seconds and whether it was
    missed; probes and probe_tokens (generated, but not in the reply); waits: how often an early end of
    thinking was refused; entropy of the thinking's tokens.
    """

    stop_cause: StopCause
    budget: int | None
    tokens: int
    inserted_tokens: int
    blocks: int
    seconds: float
    requested_budget: int | None = None
    lowered_by: LoweredBy | None = None
    effort: str | None = None
    calibrated: bool | None = None
    expected_accuracy: float | None = None
    deadline: float | None = None
    deadline_missed: bool | None = None
    probes: int | None = None
    probe_tokens: int | None = None
    waits: int | None = None
    entropy: EntropyReport | None = None

    def as_dict(self) -> dict[str, Any]:
        members = asdict(self)
        lowered = self.lowered_by is not None
        optional = list(members)[list(members).index("requested_budget") :]
        return {
            name: value
            for name, value in members.items()
            if name not in optional or value is not None or (lowered and name == "requested_budget")
        }


class ThinkingTracker:
    """Follows the reply of one choice, token by token, and says where its thinking must stop.

    asked, grant: what the request asks, and the budget it gets. arrival: when it came, on the monotonic
        clock.
    tokens: thinking tokens so far, over all blocks. in_block: the last token leaves a block open.
    blocks: how many have been opened. answer_tokens: generated outside of blocks.
    cut_cause: why thinking was cut, if it was. answer_wait: seconds from the cut to the first answer token.
    estimate: when a deadline ended the thinking, and how many seconds the answer was thought to need.
    on_stop: called by `stop`; set by who generates the choice. entropy: of the thinking so far, if asked.
    """

    def __init__(
        self,
        form: ThinkingFormat,
        state: PromptState,
        asked: ThinkingBudget,
        grant: Grant,
        *,
        arrival: float | None = None,
    ) -> None:
        self.form = form
        self.asked = asked
        self.grant = grant
        self.arrival = monotonic() if arrival is None else arrival
        self.in_block = state == "thinking"
        self.blocks = int(self.in_block)
        self.tokens = 0
        self.answer_tokens = 0
        self.inserted = 0
        self.waits = 0
        self.probes = 0
        self.probe_tokens = 0
        self.cut_cause: StopCause | None = None
        self.answer_wait: float | None = None
        self.finished_at: float | None = None
        self.estimate: tuple[float, float] | None = None
        self.on_stop: Callable[[], bool] | None = None
        self.entropy: EntropyTrace | None = None
        self.floor = asked.min_tokens if grant.budget is None else min(asked.min_tokens, grant.budget)
        self._may_begin = state == "fresh"
        self._disabled = state == "disabled" or grant.budget == 0
        self._length = False
        self._recent: deque[int] = deque(maxlen=LAST_TOKENS)
        self._cycles = None if asked.loop is None else CycleDetector(asked.loop)

    @property
    def opened(self) -> bool:
        """There has been a block."""
        return self.blocks > 0

    @property
    def spent(self) -> bool:
        """No thinking token may follow."""
        return self.cut_cause is not None or self.tokens == self.grant.budget

    @property
    def left(self) -> int | None:
        """Thinking tokens left of the budget; None without one."""
        return None if self.grant.budget is None else self.grant.budget - self.tokens

    @property
    def judges_tokens(self) -> bool:
        """Whether more than their number decides."""
        asked = self.asked
        return bool(asked.soft or asked.loop or asked.confident or self.floor)

    @property
    def untouched(self) -> bool:
        """Nothing has been generated, and thinking may yet begin."""
        return self._may_begin and not (self.blocks or self.answer_tokens)

    def feed(
        self,
        token_ids: Sequence[int],
        logprobs: Sequence[Mapping[int, Any]] | None = None,
        *,
        stopped: bool = False,
        until_open: bool = False,
    ) -> Verdict | None:
        """Count new tokens up to the first that may not simply follow.

        logprobs: of each, as vLLM tells them; `Measured` where their entropy is asked.
        stopped: the last token ended the reply (end of turn or a stop token), so it is no thinking.
        until_open: a block must begin a segment of its own.
        Returns None if all were counted. A verdict tells how many were: those after it must be fed again if
        they stay.
        """
        last = len(token_ids) - 1
        for position, token in enumerate(token_ids):
            ends = stopped and position == last
            if token in self.form.end_ids or ends:
                if self.in_block and self.tokens < self.floor:
                    return Verdict(position, "wait")
                self.answer_tokens += not self.in_block
                if token in self.form.end_ids:
                    self.in_block = False
            elif self.in_block:
                if (cause := self._reason_to_stop(token)) is not None:
                    self.cut_cause = cause
                    return Verdict(position, "cut")
                self._think(token, None if logprobs is None else logprobs[position])
                if self._probe_due():
                    return Verdict(position + 1, "probe")
            elif token == self.form.open_id:
                if self.spent:
                    return Verdict(position, "bar")
                self.in_block = True
                self.blocks += 1
                if until_open:
                    return Verdict(position + 1, "split")
            else:
                self.answer_tokens += 1
        return None

    def _reason_to_stop(self, token: int) -> StopCause | None:
        """Why `token` may not be thought, if it may not."""
        budget = self.grant.budget
        if self.tokens == budget:
            return "budget"
        if self.tokens < self.floor:
            return None
        if self._cycles is not None and self._cycles.found:
            return "loop"
        near = self.asked.soft and budget is not None and self.tokens >= budget - self.asked.soft
        if near and self._recent and sentence_ends(self.form, tuple(self._recent), token):
            return "soft"
        return None

    def _think(self, token: int, logprobs: Mapping[int, Any] | None) -> None:
        self.tokens += 1
        self._recent.append(token)
        if self.entropy is not None:
            assert isinstance(logprobs, Measured)
            text = logprobs[token].decoded_token
            if text is None:  # the request wants no text
                text = self.form.decode((token,), skip_special_tokens=False)
            self.entropy.add(text, logprobs.measure)
        if self._cycles is not None:
            self._cycles.add(token)

    def _probe_due(self) -> bool:
        confident = self.asked.confident
        return confident is not None and self.tokens % confident.every == 0 and self.tokens >= self.floor

    def cut(self, inserted: int) -> None:
        """Note that thinking was cut by inserting `inserted` tokens: an empty block if it had not begun."""
        self.blocks += self.untouched
        self.in_block = self._may_begin = False
        self.inserted += inserted

    def go_on(self, inserted: int) -> None:
        """Note that thinking was made to go on, by inserting `inserted` tokens."""
        self.waits += 1
        self.inserted += inserted

    def stop(self) -> bool:
        """End the thinking of this choice now, on the client's wish; False if it has ended already."""
        return self.on_stop is not None and self.on_stop()

    def finish(self, reason: str | None) -> ThinkingReport:
        """The report, once the reply has ended with vLLM's finish reason `reason`."""
        self._length = self.in_block and reason == "length"
        self.on_stop = None
        self.finished_at = monotonic()
        return self.report()

    def report(self) -> ThinkingReport:
        cause: StopCause = "natural"
        if self._length:
            cause = "length"
        elif self.cut_cause is not None:
            cause = self.cut_cause
        elif self._disabled and self.tokens == 0:
            cause = "disabled"
        asked, probed = self.asked, self.asked.confident is not None
        # As reported, so that what is missed is the deadline that the report shows.
        seconds = round((self.finished_at or monotonic()) - self.arrival, 4)
        return ThinkingReport(
            stop_cause=cause,
            budget=self.grant.budget,
            tokens=self.tokens,
            inserted_tokens=self.inserted,
            blocks=self.blocks,
            seconds=seconds,
            requested_budget=self.grant.requested if self.grant.lowered_by else None,
            lowered_by=self.grant.lowered_by,
            effort=asked.effort,
            calibrated=self.grant.calibrated if asked.effort or self.grant.calibrated else None,
            expected_accuracy=self.grant.expected_accuracy,
            deadline=asked.deadline,
            deadline_missed=None if asked.deadline is None else seconds > asked.deadline,
            probes=self.probes if probed else None,
            probe_tokens=self.probe_tokens if probed else None,
            waits=self.waits if asked.min_tokens else None,
            entropy=None if self.entropy is None else self.entropy.report(),
        )


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
