"""What a step logs about its rollouts."""

from collections.abc import Callable, Iterable, Sequence

import torch

from evals.grading import final_answer, normalise
from trainer.completion import Completion
from trainer.objectives import zero_variance
from trainer.rewards import Scored
from trainer.rewards.format import has_thinking
from trainer.rl.groups import ScoredGroup

Reply = tuple[Completion, Scored]


def rollout_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Means over all finished rollouts, also over those left out of training; {} without any.

    `cut/share` is of the replies asked to think, `cut/accuracy` of those that were cut; `reward/think`,
    `reward/no_think`, `accuracy/think` and `accuracy/no_think` of the replies asked for that mode;
    `length/right` and `length/wrong` of the replies that are. What has no replies is left out, and what
    compares a group's replies where it has one. `entropy` is the mean of -log p over sampled tokens, an
    unbiased estimate of the sampling distribution's entropy (nats per token). `distinct/answers` is how many
    different answers a group has, written as they are; replies without an answer count as one of them.
    """
    replies = [reply for group in groups for reply in zip(group.completions, group.scores, strict=True)]
    if not replies:
        return {}
    think = [reply for reply in replies if reply[0].thinks]
    no_think = [reply for reply in replies if not reply[0].thinks]
    cut = [reply for reply in think if reply[0].stop_cause == "budget"]
    rewards = torch.tensor([group.rewards for group in groups], dtype=torch.float64)
    sampled = [
        logprob
        for group in groups
        for rollout in group.rollouts
        for logprob, inserted in zip(rollout.logprobs, rollout.inserted, strict=True)
        if not inserted
    ]
    metrics = {
        "entropy": -sum(sampled) / max(len(sampled), 1),
        "reward/total": _mean(replies, _total),
        "length/mean": _mean(replies, _length),
        "truncated/share": _mean(replies, lambda reply: reply[0].finish_reason == "length"),
        "mode/following": _mean(replies, lambda reply: has_thinking(reply[0]) == reply[0].thinks),
    }
    if rewards.shape[1] > 1:
        metrics["reward/deviation"] = float(rewards.std(dim=1).mean())
        metrics["group/zero_variance"] = float(zero_variance(rewards).double().mean())
        metrics["distinct/answers"] = sum(map(_distinct, groups)) / len(groups)
    for name in replies[0][1].parts:
        metrics[f"reward/{name}"] = sum(scored.parts[name] for _, scored in replies) / len(replies)
    for name, note in replies[0][1].notes.items():
        if not isinstance(note, str):
            metrics[name] = sum(float(scored.notes[name]) for _, scored in replies) / len(replies)
    for name, wanted in (("right", True), ("wrong", False)):
        its = [reply for reply in replies if (_right(reply) > 0) == wanted]
        if its:
            metrics[f"length/{name}"] = _mean(its, _length)
    if think:
        metrics["length/thinking"] = _mean(think, lambda reply: reply[0].thinking_tokens)
        metrics["cut/share"] = len(cut) / len(think)
    for mode, its in (("think", think), ("no_think", no_think)):
        if its:
            metrics[f"reward/{mode}"] = _mean(its, _total)
            metrics[f"accuracy/{mode}"] = _mean(its, _right)
    if cut:
        metrics["cut/accuracy"] = _mean(cut, _right)
    return metrics


def _total(reply: Reply) -> float:
    return reply[1].total


def _length(reply: Reply) -> float:
    return reply[0].tokens


def _distinct(group: ScoredGroup) -> int:
    answers = (final_answer(completion.answer) for completion in group.completions)
    return len({None if answer is None else normalise(answer) for answer in answers})


def _right(reply: Reply) -> float:
    return reply[1].parts["correctness"]


def _mean(replies: Iterable[Reply], value: Callable[[Reply], float]) -> float:
    values = [float(value(reply)) for reply in replies]
    return sum(values) / len(values)
