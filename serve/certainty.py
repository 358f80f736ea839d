"""Whether a choice has thought enough: its answer tried from its thinking so far (DEER, arXiv 2504.15895)."""

import asyncio
import math
from typing import TYPE_CHECKING

from vllm.sampling_params import RequestOutputKind, SamplingParams

from serve.budget import ConfidentStop

if TYPE_CHECKING:
    from serve.choice import LimitedChoice


class Certainty:
    """Tries the answer of a choice from time to time; certain answers that agree end its thinking."""

    def __init__(self, choice: "LimitedChoice", confident: ConfidentStop) -> None:
        self._choice = choice
        self._confident = confident
        self._probe: asyncio.Task[tuple[list[int], float]] | None = None
        self._cancelled = False
        self._last: list[int] = []
        self._agreeing = 0

    def cancel(self) -> None:
        """Give up the try that runs, if one does."""
        if self._probe is not None:
            self._cancelled = True
            self._probe.cancel()

    async def reached(self) -> bool:
        """Try the answer from what has been thought so far. vLLM thinks on meanwhile."""
        tracker, confident = self._choice.tracker, self._confident
        self._probe = asyncio.create_task(self._try())
        try:
            answer, confidence = await self._probe
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._cancelled or (task is not None and task.cancelling()):
                raise
            return False
        finally:
            self._probe = None
        tracker.probes += 1
        tracker.probe_tokens += len(answer)
        same = self._agreeing > 0 and answer == self._last
        self._agreeing = 0 if confidence < confident.threshold else 1 + self._agreeing * same
        self._last = answer
        if self._agreeing < confident.agree:
            return False
        tracker.cut_cause = "confident"
        return True

    async def _try(self) -> tuple[list[int], float]:
        """The greedy answer, and the geometric mean of its tokens' probabilities."""
        choice, engine = self._choice, self._choice.engine
        ids = [*choice.prompt["prompt_token_ids"], *choice.reply, *choice.stop_ids]
        ids += choice.form.encode(self._confident.induce)
        room = engine.model_config.max_model_len - len(ids)
        if room < 1:
            return [], 0.0
        params = SamplingParams(
            temperature=0.0,
            max_tokens=min(self._confident.tokens, room),
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        options = dict(engine.ahead_of_new(choice.options), reasoning_ended=True)
        request_id = f"{choice.request_id}.probe{choice.tracker.probes}"
        prompt = dict(choice.prompt, prompt_token_ids=ids)
        (output,) = [o async for o in engine.segment(prompt, params, request_id, options)]
        (answer,) = output.outputs
        entries = zip(answer.token_ids, answer.logprobs, strict=True)
        mean = sum(entry[token].logprob for token, entry in entries) / len(answer.token_ids)
        return list(answer.token_ids), math.exp(mean)
