"""On-policy distillation: TRL's trainer on replies that our rollout backend samples from the student."""

from typing import Any

import torch
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DistillationConfig, DistillationTrainer

from serve.formats import ThinkingFormat
from trainer.distill.prompts import Prompt, PromptStream
from trainer.optimizers import optimizer_with_schedule
from trainer.progress import trace_of
from trainer.recipe.model import Optimizer
from trainer.recipe.rl import Rollouts
from trainer.rewards.format import has_thinking
from trainer.rollouts.text import to_completion
from trainer.rollouts.types import Rollout, RolloutBackend, Sampling
from trainer.sft.sealed import OnStep, SealedTrainer, StepCallback


class Prompts(Dataset):
    """The prompts of a number of steps, as TRL's data set."""

    def __init__(self, stream: PromptStream, number: int) -> None:
        self._stream, self._number = stream, number

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, number: int) -> dict[str, Prompt]:
        return {"prompt": self._stream.at(number)}


class OnPolicyTrainer(SealedTrainer, DistillationTrainer):
    """Draws the student's distributions to the teacher's at the tokens the student sampled.

    TRL renders all prompts with the same template switches, and samples without a seed for each reply and
    without a reserve for the answer. So one method of its is ours, `_generate`: prompts come rendered, each
    in its mode, and replies from the rollout backend. Inserted tokens carry no loss, like TRL's tool results.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        teacher: PreTrainedModel,
        form: ThinkingFormat,
        prompts: Prompts,
        backend: RolloutBackend,
        rollouts: Rollouts,
        optimizer: Optimizer,
        arguments: DistillationConfig,
        on_step: OnStep,
    ) -> None:
        self._backend, self._rollouts, self._form = backend, rollouts, form
        self._synced = -1
        self._step_loss = torch.zeros(())
        self._replies: list[tuple[Prompt, Rollout]] = []
        tokenizer: PreTrainedTokenizerBase = form.tokenizer
        super().__init__(
            model=model,
            teacher_model=teacher,
            args=arguments,
            train_dataset=prompts,
            processing_class=tokenizer,
            optimizers=optimizer_with_schedule(model, optimizer, arguments.max_steps),
            callbacks=[StepCallback(self, on_step)],
        )

    def sync(self) -> float:
        """Give the backend the weights of the steps done; the probe's largest difference, in nats."""
        if self._synced != self.state.global_step:
            report = self._backend.sync(self.model_wrapped, self.state.global_step)
            self._synced, self._probe_max = self.state.global_step, report.probe_max
        return self._probe_max

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """TRL's, whose loss is kept: with those of all micro-batches it is the step's mean per token."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._step_loss = self._step_loss.to(loss.device) + loss.detach()
        return loss

    def take_metrics(self) -> dict[str, float]:
        """The step's mean divergence and entropy in nats per token, and what its replies are like."""
        loss = self.accelerator.reduce(self._step_loss, "mean").item()
        entropies = self._metrics["train"].pop("entropy")
        self._metrics["train"].clear()
        facts: list[tuple[int, int, bool, bool]] = gather_object(
            [self._facts(*each) for each in self._replies]
        )
        self._step_loss = torch.zeros(())
        self.step_tokens = sum(tokens for tokens, *_ in facts)
        return {
            "loss": loss,
            "entropy": sum(entropies) / len(entropies),
            "length/mean": _mean([tokens for tokens, *_ in facts]),
            "length/thinking": _mean([thinking for _, thinking, *_ in facts]),
            "mode/following": _mean([follows for *_, follows, _ in facts]),
            "truncated/share": _mean([truncated for *_, truncated in facts]),
            "sync/probe_max": self._probe_max,
        }

    def traces(self) -> list[dict[str, Any]]:
        """This process's replies of the last step."""
        return [
            trace_of(rollout, self._form.tokenizer, thinks=prompt.thinks, answer=prompt.problem.answer)
            for prompt, rollout in self._replies
        ]

    def _facts(self, prompt: Prompt, rollout: Rollout) -> tuple[int, int, bool, bool]:
        """Sampled tokens, thinking tokens, whether the mode was followed, whether the reply was cut short."""
        form = self._form
        completion = to_completion(rollout, prompt.problem, prompt.thinks, form.tokenizer, form)
        follows = has_thinking(completion) == prompt.thinks
        return completion.tokens, rollout.thinking_tokens, follows, rollout.finish_reason == "length"

    def _generate(
        self, prompts: list[Prompt]
    ) -> tuple[list[list[int]], list[list[int]], list[list[int]], None, list[Any]]:
        """Prompt ids, reply ids, which reply tokens carry loss, and no images."""
        self.sync()
        requests = [
            prompt.request(self._rollouts.max_tokens, self._rollouts.answer_tokens) for prompt in prompts
        ]
        sampling = Sampling(self._rollouts.temperature, self._rollouts.top_p)
        rollouts = self._backend.generate(requests, sampling)
        self._replies = list(zip(prompts, rollouts, strict=True))
        return (
            [list(prompt.ids) for prompt in prompts],
            [list(rollout.token_ids) for rollout in rollouts],
            [[int(not inserted) for inserted in rollout.inserted] for rollout in rollouts],
            None,
            [],
        )


def _mean(values: list[Any]) -> float:
    return sum(values) / len(values)
