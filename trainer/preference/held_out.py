"""What a policy makes of held-out pairs, and whether its replies to their prompts beat the reference's."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, send_to_device
from torch import nn

from trainer.checkpoints import load_model
from trainer.context import StageContext
from trainer.distill.divergence import reply_divergence
from trainer.distill.prompts import PromptStream
from trainer.preference.batch import TokenLogprobs, compare, pair_inputs
from trainer.preference.metrics import NAMES, pair_metrics, pair_sums
from trainer.preference.pairs import Judged, Pair
from trainer.preference.reference import batches
from trainer.preference.sample import answer, read_judged
from trainer.progress import trace_of
from trainer.recipe.preference import Pairs
from trainer.recipe.stages import DPO
from trainer.rl import evaluation
from trainer.rl.evaluation import Arm
from trainer.rollouts.types import RolloutBackend

ARMS = (Arm("think", True), Arm("no_think", False))


class HeldOutPairs:
    """Diagnostics by forward passes alone."""

    def __init__(self, stage: DPO, pairs: Sequence[Pair], reference: Sequence[TokenLogprobs]) -> None:
        self._stage, self._pairs, self._reference = stage, pairs, reference

    @torch.no_grad()
    def measure(self, model: nn.Module) -> dict[str, float]:
        """`pair_metrics` of all pairs, as `held_out/...`; every process computes them."""
        device = PartialState().device
        was_training = model.training
        model.eval()
        sums = torch.zeros(len(NAMES), dtype=torch.float64, device=device)
        for numbers in batches(self._pairs, self._stage.micro_batch_tokens):
            inputs = pair_inputs(
                [self._pairs[number] for number in numbers],
                [self._reference[number] for number in numbers],
                pad=0,
            )
            sums += pair_sums(compare(model, send_to_device(inputs, device)), self._stage.objective)
        model.train(was_training)
        metrics = pair_metrics(sums.cpu(), has_reference=True)
        return {f"held_out/{name}": value for name, value in metrics.items()}


class HeldOutReplies:
    """A reply of the policy to each held-out prompt against the reference's, which were sampled first."""

    def __init__(
        self,
        context: StageContext,
        settings: Pairs,
        prompts: PromptStream,
        reference: Sequence[dict[str, Any]],
        backend: RolloutBackend,
    ) -> None:
        """reference: the records of its replies to the first prompts."""
        self._settings, self._prompts, self._records, self._backend = settings, prompts, reference, backend
        self._problems = evaluation.held_out_problems(context.recipe, context.stage)
        plain = context.recipe.model.model_copy(update={"lora": None, "gradient_checkpointing": False})
        model = load_model(context.start, plain).requires_grad_(False).eval()
        self._model = model.to(PartialState().device)
        self.traces: list[dict[str, Any]] = []

    def measure(self, model: nn.Module, step: int) -> dict[str, float]:
        """Held-out accuracy in both modes, and of the policy's replies to the prompts of held-out pairs:

        `eval/win_rate`, the chance that one is better than one of the reference's, equals counted half;
        `eval/right`, `eval/length`, `eval/entropy` (the mean of -log p) and `eval/kl`, KL(policy ||
        reference) in nats per token. Every process calls this and gets the result.
        """
        state, form, rollouts = PartialState(), self._prompts.form, self._settings.rollouts
        assert rollouts is not None
        self._backend.sync(model, step)
        # Sharded models are run by all processes together, so each must have as many replies.
        processes = state.num_processes
        number = max(1, len(self._records) // processes) * processes
        places = [place % len(self._records) for place in range(number)[state.process_index :: processes]]
        prompts = [self._prompts.at(place) for place in places]
        answered = answer(prompts, 1, self._settings, form, self._backend)
        replies = [one.rollouts[0] for one in answered]
        judged = [read_judged(one.record)[0] for one in answered]
        others = [read_judged(self._records[place]) for place in places]
        self.traces = [
            trace_of(reply, form.tokenizer, answer=prompt.problem.answer, score=one.score)
            for reply, prompt, one in zip(replies, prompts, judged, strict=True)
        ]
        was_training = model.training
        model.eval()
        divergence, tokens = reply_divergence(model, self._model, replies, state.device)
        model.train(was_training)
        surprise = -sum(sum(reply.logprobs) for reply in replies)
        sums = gather_object([(divergence, surprise, tokens)])
        facts = gather_object(
            [
                (win_rate(one, its, self._settings), one.right, one.tokens)
                for one, its in zip(judged, others, strict=True)
            ]
        )
        arms = evaluation.measure(self._backend, self._problems, ARMS, rollouts, form, state)
        total = sum(count for *_, count in sums)
        return {
            **arms,
            "eval/win_rate": fmean(won for won, _, _ in facts),
            "eval/right": fmean(right for _, right, _ in facts),
            "eval/length": fmean(length for *_, length in facts),
            "eval/kl": sum(value for value, _, _ in sums) / total,
            "eval/entropy": sum(value for _, value, _ in sums) / total,
        }


def win_rate(reply: Judged, others: Sequence[Judged], settings: Pairs) -> float:
    """The share of `others` that a reply is preferred to; equal ones count half."""
    mine = _worth(reply, settings)
    theirs = [_worth(other, settings) for other in others]
    return fmean(0.5 if mine == other else float(mine > other) for other in theirs)


def _worth(reply: Judged, settings: Pairs) -> tuple[float, float]:
    """Replies in the order of preference: by reward, or right ones first and among them shorter ones."""
    if settings.prefer == "right":
        return reply.score, 0.0
    return float(reply.right), -float(reply.tokens) if reply.right else 0.0


@dataclass(frozen=True, slots=True)
class HeldOut:
    """All that a stage measures; without a backend the pairs alone."""

    pairs: HeldOutPairs
    replies: HeldOutReplies | None

    def measure(self, model: nn.Module, step: int) -> dict[str, float]:
        """Metrics of both; every process calls this."""
        replies = {} if self.replies is None else self.replies.measure(model, step)
        return replies | self.pairs.measure(model)

    @property
    def traces(self) -> list[dict[str, Any]]:
        """This process's replies of the last measurement."""
        return [] if self.replies is None else self.replies.traces
