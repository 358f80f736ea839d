"""How good a student is on held-out problems in both modes, and how far from its teacher."""

from dataclasses import dataclass

from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn

from evals.problems import Problem
from serve.formats import ThinkingFormat
from trainer.distill.divergence import reply_divergence
from trainer.examples import Example
from trainer.recipe.rl import Rollouts
from trainer.rl.evaluation import Arm, answer_all, summarise
from trainer.rollouts.types import RolloutBackend, RolloutRequest, Sampling
from trainer.rows.conversation import plain_conversation, prompt_ids
from trainer.seeds import derive_seed

MODES = (Arm("think", True), Arm("no_think", False))
DIVERGENCE_PROBLEMS = 40
"""The first held-out ones, to which a reply in each mode is sampled for the divergence."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A measurement, the same at every call but for the student."""

    problems: list[Problem]
    settings: Rollouts
    form: ThinkingFormat
    teacher: nn.Module

    def measure(self, student: nn.Module, backend: RolloutBackend) -> dict[str, float]:
        """Accuracy of greedy replies, `eval/<mode>`, and `eval/kl/<mode>`.

        The latter is the mean over sampled tokens of KL(student || teacher), in nats, on replies the student
        samples at temperature 1 with fixed seeds. backend: has the student's weights. Every process calls
        this and gets the result.
        """
        answers = answer_all(backend, self.problems, MODES, self.settings, self.form, PartialState())
        metrics = summarise(answers, MODES)
        training = student.training
        student.eval()
        for mode in MODES:
            metrics[f"eval/kl/{mode.name}"] = self._divergence(student, backend, mode.thinks)
        student.train(training)
        return metrics

    def _divergence(self, student: nn.Module, backend: RolloutBackend, thinks: bool) -> float:
        state = PartialState()
        processes = state.num_processes
        # Sharded models are run by all processes together, so each must have as many replies.
        number = max(1, min(DIVERGENCE_PROBLEMS, len(self.problems)) // processes) * processes
        numbers = range(number)[state.process_index :: processes]
        requests = []
        for index in numbers:
            example = Example(self.problems[index % len(self.problems)])
            ids = tuple(prompt_ids(self.form, plain_conversation(example, thinks)))
            seed = derive_seed("divergence", index)
            requests.append(
                RolloutRequest(ids, self.settings.max_tokens, seed, answer_tokens=self.settings.answer_tokens)
            )
        replies = backend.generate(requests, Sampling())
        results = gather_object([reply_divergence(student, self.teacher, replies, state.device)])
        return sum(total for total, _ in results) / sum(count for _, count in results)
