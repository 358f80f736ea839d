"""One reply as it grows, cut as the server cuts: by the server's own tracker and grants, without its streams.

A reply is generated in *segments*, each from prompt + reply so far, as `serve.choice.LimitedChoice` does: the
first until thinking ends or its budget is used up and one more token does not close it; then the stop ids are
inserted whole and the next segment answers. The backends differ only in who computes a segment's tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serve.budget import ThinkingBudget
from serve.formats import ThinkingFormat
from serve.grants import grant
from serve.prompts import prompt_state
from serve.segments import continued_seed
from serve.trace import ThinkingTracker
from trainer.rollouts.types import Rollout, RolloutRequest


@dataclass(frozen=True, slots=True)
class Segment:
    """What a backend is asked to generate next: at most max_tokens from token ids, with a seed of its own.

    barred: the open tag may not be sampled (logit bias `serve.segments.BARRED`).
    """

    prompt_ids: list[int]
    max_tokens: int
    seed: int
    barred: bool


class Reply:
    """A reply in progress.

    context: most tokens of prompt and reply together. version: of the weights that sample from here on.
    tokens_per_call: sampled tokens after which the reply is left unfinished; None for no limit.
    left: how many of them are left.
    Raises ValueError where the limits leave no room to think for a prompt that asks for thinking.
    """

    def __init__(
        self,
        request: RolloutRequest,
        form: ThinkingFormat,
        *,
        context: int,
        version: int,
        tokens_per_call: int | None = None,
    ) -> None:
        self.request = request
        self.form = form
        self.version = version
        room = context - len(request.prompt_ids)
        self.max_tokens = min(request.max_tokens, room)
        if self.max_tokens < 1:
            raise ValueError(
                f"prompt_ids: {len(request.prompt_ids)} tokens leave no room in the context of {context}; "
                "give shorter prompts"
            )
        self.tracker = self._new_tracker(room)
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.inserted: list[bool] = []
        self.versions: list[int] = []
        self.finish_reason: str | None = None
        if request.begun is not None:
            self._replay(request.begun)
        self.left = tokens_per_call or self.max_tokens

    def _new_tracker(self, room: int) -> ThinkingTracker:
        request, form = self.request, self.form
        if request.budget is not None and request.budget < 1:
            raise ValueError(
                f"budget: {request.budget} is wrong because thinking is turned off by the prompt; render it "
                "with thinking disabled and give None"
            )
        asked = ThinkingBudget(request.budget, answer_reserve=request.answer_tokens)
        state = prompt_state(request.prompt_ids, form)
        overhead = (state != "thinking") + len(form.stop_ids)
        granted = grant(asked, max_tokens=self.max_tokens, room=room, overhead=overhead)
        if granted.budget == 0 and state in ("fresh", "thinking"):
            raise ValueError(
                f"max_tokens: {self.max_tokens} is wrong because tags and stop text are {overhead} "
                f"tokens and answer_tokens keeps {request.answer_tokens}, which leaves no thinking; give more"
            )
        return ThinkingTracker(form, state, asked, granted)

    def _replay(self, begun: Rollout) -> None:
        """Bring the tracker to where an earlier call left the reply."""
        run = 0
        for token, inserted in zip(begun.token_ids, begun.inserted, strict=True):
            if inserted:
                run += 1
                continue
            self._replay_cut(run)
            run = 0
            self.tracker.feed([token])
        self._replay_cut(run)
        self.token_ids, self.logprobs = list(begun.token_ids), list(begun.logprobs)
        self.inserted, self.versions = list(begun.inserted), list(begun.versions)

    def _replay_cut(self, inserted: int) -> None:
        if inserted:
            self.tracker.cut_cause = "budget"
            self.tracker.cut(inserted)

    @property
    def finished(self) -> bool:
        """Nothing more is generated for it in this call."""
        return self.finish_reason is not None

    def segment(self) -> Segment:
        """What continues the reply."""
        done = len(self.token_ids)
        return Segment(
            prompt_ids=[*self.request.prompt_ids, *self.token_ids],
            max_tokens=self.max_tokens - done,
            seed=continued_seed(self.request.seed, done) if done else self.request.seed,
            barred=self.tracker.spent,
        )

    def feed(self, token_ids: Sequence[int], logprobs: Sequence[float], end: str | None) -> bool:
        """Take a segment's next tokens; end: vLLM's finish reason if it ends with them.

        Returns whether the segment goes on. If not, the reply is finished or asks for another segment.
        """
        verdict = self.tracker.feed(token_ids, stopped=end == "stop")
        keep = len(token_ids) if verdict is None else verdict.keep
        self._append(token_ids[:keep], logprobs[:keep], inserted=False)
        self.left -= keep
        if verdict is None:
            if end is None and self.left > 0:
                return True
            self.finish_reason = end or "unfinished"
            return False
        if verdict.action == "cut":
            self._cut()
        if len(self.token_ids) >= self.max_tokens:
            self.finish_reason = "length"
        elif self.left <= 0 and not self.finished:
            self.finish_reason = "unfinished"
        return False

    def _cut(self) -> None:
        """Insert the stop ids, if at least one token of answer has room after them."""
        stop_ids = self.form.stop_ids
        if len(self.token_ids) + len(stop_ids) >= self.max_tokens:
            self.finish_reason = "length"
            return
        self._append(stop_ids, [0.0] * len(stop_ids), inserted=True)
        self.tracker.cut(len(stop_ids))

    def _append(self, token_ids: Sequence[int], logprobs: Sequence[float], *, inserted: bool) -> None:
        self.token_ids += token_ids
        self.logprobs += logprobs
        self.inserted += [inserted] * len(token_ids)
        self.versions += [self.version] * len(token_ids)

    def rollout(self) -> Rollout:
        """The reply as it stands, once it is finished."""
        assert self.finish_reason is not None
        return Rollout(
            request=self.request,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            inserted=tuple(self.inserted),
            versions=tuple(self.versions),
            thinking_tokens=self.tracker.tokens,
            stop_cause=self.tracker.finish(self.finish_reason).stop_cause,
            finish_reason=self.finish_reason,
        )


def begin_replies(
    requests: Sequence[RolloutRequest],
    form: ThinkingFormat,
    context: int,
    *,
    version: int,
    tokens_per_call: int | None,
) -> list[Reply]:
    """A reply to each request, in their order; for the arguments see `Reply`."""
    return [
        Reply(request, form, context=context, version=version, tokens_per_call=tokens_per_call)
        for request in requests
    ]
