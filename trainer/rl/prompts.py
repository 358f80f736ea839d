"""A group's prompt: its problem, the mode it asks for and how, and its thinking budget."""

import random
from dataclasses import dataclass

from evals.problems import Problem
from serve.formats import ThinkingFormat
from trainer.examples import Example
from trainer.recipe.rl import Modes
from trainer.rollouts.types import RolloutRequest
from trainer.rows.conversation import draw_conversation, prompt_ids
from trainer.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class PromptGroup:
    """One prompt that a group of rollouts answers.

    step, index: the step it was drawn in, and its number in that step. place: its problem's in the sources.
    thinks: the mode asked for. budget: thinking tokens, None for no limit.
    """

    step: int
    index: int
    place: int
    problem: Problem
    thinks: bool
    budget: int | None
    prompt_ids: tuple[int, ...]

    @property
    def key(self) -> tuple[int, int]:
        """Orders groups, and names each in its stage."""
        return self.step, self.index


def draw_thinks(modes: Modes, rng: random.Random) -> bool:
    """Whether a group is asked to think."""
    return rng.random() >= modes.no_think


def draw_prompt(
    form: ThinkingFormat,
    modes: Modes,
    rng: random.Random,
    example: Example,
    earlier: Example,
    thinks: bool,
) -> tuple[int, ...]:
    """The prompt's token ids: hard switch or soft flag, in the user or system turn, the last flag winning.

    earlier: what an earlier turn asks, where the draw gives the conversation one.
    """
    conversation = draw_conversation(
        rng,
        example,
        thinks,
        modes.flagged,
        modes.in_system,
        modes.multi_turn,
        earlier=earlier,
        overruled=modes.overruled,
    )
    return tuple(prompt_ids(form, conversation))


def group_requests(
    prompt: PromptGroup, seed: int, samples: int, max_tokens: int, answer_tokens: int
) -> list[RolloutRequest]:
    """A group's requests, each with a seed of its own."""
    return [
        RolloutRequest(
            prompt_ids=prompt.prompt_ids,
            max_tokens=max_tokens,
            seed=derive_seed(seed, "sample", prompt.step, prompt.index, sample),
            budget=prompt.budget,
            answer_tokens=answer_tokens,
        )
        for sample in range(samples)
    ]
