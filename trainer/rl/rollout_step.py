"""A step's rollouts: groups in flight, those of earlier steps first, until there are enough to train on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from serve.formats import ThinkingFormat
from trainer.objectives import zero_variance
from trainer.recipe.stages import RLStage
from trainer.rewards import RewardSet
from trainer.rl.budgets import draw_budget
from trainer.rl.groups import Flight, ScoredGroup, ended
from trainer.rl.prompts import PromptGroup, draw_prompt, draw_thinks, group_requests
from trainer.rl.sampling import Examples, ProblemSampler
from trainer.rollouts.text import to_completion
from trainer.rollouts.types import RolloutBackend, RolloutRequest, Sampling
from trainer.seeds import derive_rng

Group = TypeVar("Group", Flight, ScoredGroup)


@dataclass(slots=True)
class StepRollouts:
    """What a step's sampling gave, the same on every process.

    finished: every group that ended in this step. kept: those to train on. generated: tokens sampled for the
    step's groups. The seconds are this process's.
    """

    finished: list[ScoredGroup] = field(default_factory=list)
    kept: list[ScoredGroup] = field(default_factory=list)
    generated: int = 0
    rounds: int = 0
    rollout_seconds: float = 0.0
    reward_seconds: float = 0.0


class RolloutStep:
    """Draws problems and samples replies to them; groups are dealt over processes and gathered again.

    `pending` holds groups that partial rollouts carry over to the next step (Kimi k1.5, section 2.6.2).
    """

    def __init__(
        self,
        stage: RLStage,
        seed: int,
        examples: Examples,
        sampler: ProblemSampler,
        backend: RolloutBackend,
        rewards: RewardSet,
        form: ThinkingFormat,
        accelerator: Accelerator,
    ) -> None:
        self._stage, self._seed = stage, seed
        self._examples, self._sampler = examples, sampler
        self._backend, self._rewards, self._form = backend, rewards, form
        self._accelerator = accelerator
        self._sampling = Sampling(stage.rollouts.temperature, stage.rollouts.top_p)
        self.pending: list[Flight] = []

    def run(self, step: int) -> StepRollouts:
        """Sample the rollouts of `step` (0 is the first) with the backend's present weights.

        Groups whose rewards are all equal are replaced by fresh ones for up to `refill` rounds (DAPO, section
        3.2) and left out; with refill 0 they are kept. With partial rollouts a step trains on the groups that
        ended in it, so it samples on until there is one.
        """
        result = StepRollouts()
        refills = self._stage.rollouts.refill
        drawn = 0
        flights, self.pending = self.pending, []
        while True:
            missing = self._stage.prompts_per_step - len(result.kept) - len(flights) - len(self.pending)
            if missing and (result.rounds == 0 or refills):
                refills -= int(result.rounds > 0)
                taken = [flight.prompt.place for flight in [*flights, *self.pending]]
                flights = [*flights, *self._draw(step, drawn, missing, taken)]
                drawn += missing
            if not flights:
                if result.finished:
                    return result
                flights, self.pending = self.pending, []
            self._advance(flights, step, result)
            flights = []

    def _draw(self, step: int, first: int, count: int, taken: Sequence[int]) -> list[Flight]:
        progress = step / self._stage.steps
        places = self._sampler.draw(count, progress, taken)
        return [
            Flight(self._prompt(step, first + number, place, progress)) for number, place in enumerate(places)
        ]

    def _prompt(self, step: int, index: int, place: int, progress: float) -> PromptGroup:
        rng = derive_rng(self._seed, "group", step, index)
        example = self._examples.at(place)
        thinks = draw_thinks(self._stage.modes, rng)
        budget = draw_budget(self._stage.budget, rng, progress) if thinks else None
        earlier = self._examples.at(rng.randrange(max(place, 1)))
        ids = draw_prompt(self._form, self._stage.modes, rng, example, earlier, thinks)
        return PromptGroup(step, index, place, example.problem, thinks, budget, ids)

    def _advance(self, flights: Sequence[Flight], step: int, result: StepRollouts) -> None:
        """Sample on, score what has finished, and sort groups into kept, left out and pending."""
        rank, ranks = self._accelerator.process_index, self._accelerator.num_processes
        started = monotonic()
        before = sum(_sampled(flight) for flight in flights)
        own = self._generate(flights[rank::ranks])
        generated = monotonic()
        scored = self._score([flight for flight in own if flight.finished], step)
        scored_at = monotonic()
        finished = self._gather(scored)
        unfinished = self._gather([flight for flight in own if not flight.finished])
        after = sum(map(_sampled, finished)) + sum(map(_sampled, unfinished))
        result.generated += after - before
        result.rollout_seconds += generated - started
        result.reward_seconds += scored_at - generated
        result.rounds += 1
        self.pending.extend(unfinished)
        for group in finished:
            self._sampler.record(group.prompt.place, sum(group.right), len(group.right))
        result.finished.extend(finished)
        if self._stage.rollouts.refill and finished:
            equal = zero_variance(torch.tensor([group.rewards for group in finished], dtype=torch.float64))
            finished = [group for group, same in zip(finished, equal.tolist(), strict=True) if not same]
        result.kept.extend(finished)

    def _generate(self, flights: Sequence[Flight]) -> list[Flight]:
        settings = self._stage.rollouts
        requests: list[RolloutRequest] = []
        for flight in flights:
            if flight.rollouts:
                requests += [replace(r.request, begun=r) for r in flight.rollouts if not ended(r)]
            else:
                requests += group_requests(
                    flight.prompt,
                    self._seed,
                    self._stage.group_size,
                    settings.max_tokens,
                    settings.answer_tokens,
                )
        if not requests:
            return list(flights)
        sampled = self._backend.generate(requests, self._sampling, settings.tokens_per_step)
        # The request's own `begun` would keep every earlier part of the reply alive.
        replies = iter([replace(reply, request=replace(reply.request, begun=None)) for reply in sampled])
        return [
            Flight(
                flight.prompt,
                tuple(r if ended(r) else next(replies) for r in flight.rollouts)
                or tuple(next(replies) for _ in range(self._stage.group_size)),
            )
            for flight in flights
        ]

    def _score(self, flights: Sequence[Flight], step: int) -> list[ScoredGroup]:
        texts = [
            tuple(
                to_completion(
                    rollout, flight.prompt.problem, flight.prompt.thinks, self._form.tokenizer, self._form
                )
                for rollout in flight.rollouts
            )
            for flight in flights
        ]
        scores = self._rewards.score(texts, step) if texts else []
        return [
            ScoredGroup(flight.prompt, flight.rollouts, completions, tuple(values))
            for flight, completions, values in zip(flights, texts, scores, strict=True)
        ]

    def _gather(self, groups: list[Group]) -> list[Group]:
        """Those of all processes, in the order they were drawn in."""
        return sorted(gather_object(groups), key=lambda group: group.prompt.key)


def _sampled(group: Flight | ScoredGroup) -> int:
    return sum(rollout.inserted.count(False) for rollout in group.rollouts)
