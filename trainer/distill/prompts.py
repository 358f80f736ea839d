"""What is asked in distillation: the data's questions in both modes, each a function of its number."""

from dataclasses import dataclass

from evals.problems import Problem
from serve.formats import ThinkingFormat
from trainer.recipe.rl import Modes
from trainer.rl.prompts import draw_prompt, draw_thinks
from trainer.rollouts.types import RolloutRequest
from trainer.seeds import derive_rng, derive_seed
from trainer.sources import ExampleStream


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question asked in a mode. seed: of the reply sampled to it."""

    number: int
    problem: Problem
    thinks: bool
    ids: tuple[int, ...]
    seed: int

    def request(self, max_tokens: int, answer_tokens: int) -> RolloutRequest:
        """The reply to sample."""
        return RolloutRequest(self.ids, max_tokens, self.seed, answer_tokens=answer_tokens)


@dataclass(frozen=True, slots=True)
class PromptStream:
    """Prompts by number, rendered for one model.

    purpose: tells the prompts of one phase from another's. samples: how many numbers in a row ask the same
    problem, each in a mode of its own.
    """

    examples: ExampleStream
    modes: Modes
    form: ThinkingFormat
    seed: int
    purpose: str
    samples: int = 1

    def at(self, number: int) -> Prompt:
        """Prompt `number`, counted from 0."""
        rng = derive_rng(self.seed, self.purpose, number)
        place = number // self.samples
        example = self.examples.at(place)
        thinks = draw_thinks(self.modes, rng)
        earlier = self.examples.at(rng.randrange(max(place, 1)))
        return Prompt(
            number,
            example.problem,
            thinks,
            draw_prompt(self.form, self.modes, rng, example, earlier, thinks),
            derive_seed(self.seed, self.purpose, "reply", number),
        )
