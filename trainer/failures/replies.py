"""Replies of a checkpoint to held-out problems, graded, with how far they are from the start; kept in a file.

Entropy and divergence are exact at every sampled token, summed over the vocabulary: with the start's
distributions at hand this has less variance than log-probabilities of the tokens drawn (Amini et al. 2025,
arXiv:2504.10637).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evals.grading import final_answer
from evals.problems import Problem
from evals.summary.grades import Grades
from evals.summary.replies import span_probability
from serve.formats import ThinkingFormat
from trainer.completion import Completion
from trainer.distill.divergence import sampled_logits, token_divergence
from trainer.objectives import entropy
from trainer.rollouts.text import to_completion
from trainer.rollouts.types import Rollout


@dataclass(frozen=True, slots=True)
class Reply:
    """One graded reply, sampled at temperature 1.

    problem, sample: its problem's id, and its number among that problem's. correct, answer, group: as in
    `evals.summary.outcomes.Outcome`. answer_probability: exp of the mean log-probability of the final
    answer's tokens. entropy, kl: nats, summed over the `sampled` tokens of the reply: of the policy's
    distribution, and KL(policy || start). The others are those of a `Completion`.
    """

    problem: str
    sample: int
    correct: bool
    answer: str | None
    group: int | None
    answer_probability: float | None
    sampled: int
    entropy: float
    kl: float
    text: str
    thinking: str | None
    answer_text: str
    thinking_tokens: int
    max_tokens: int
    stop_cause: str
    finish_reason: str

    @property
    def stated_confidence(self) -> None:
        """Nobody asked."""
        return None

    def completion(self, problem: Problem, thinks: bool) -> Completion:
        """What a reward sees of it."""
        return Completion(
            problem=problem,
            thinks=thinks,
            reply=self.text,
            thinking=self.thinking,
            answer=self.answer_text,
            tokens=self.sampled,
            thinking_tokens=self.thinking_tokens,
            max_tokens=self.max_tokens,
            budget=None,
            stop_cause=self.stop_cause,
            finish_reason=self.finish_reason,
        )


def graded_replies(
    rollouts: Sequence[Rollout],
    problems: Sequence[Problem],
    thinks: bool,
    form: ThinkingFormat,
    policy: nn.Module,
    start: nn.Module,
    folder: Path,
) -> list[Reply]:
    """Replies from rollouts, those of each problem together, as many of each. folder: keeps the grades."""
    samples = len(rollouts) // len(problems)
    asked = [problem for problem in problems for _ in range(samples)]
    completions = [
        to_completion(rollout, problem, thinks, form.tokenizer, form)
        for rollout, problem in zip(rollouts, asked, strict=True)
    ]
    grades = Grades(folder)
    indices = [grades.add(c.problem.answer, c.answer, final_answer(c.answer)) for c in completions]
    grades.settle()
    found: dict[str, set[tuple[str, bool]]] = {problem.id: set() for problem in problems}
    for problem, index in zip(asked, indices, strict=True):
        answer = grades[index].answer
        if answer is not None:
            found[problem.id].add((answer, grades[index].correct))
    groups = {problem.id: grades.classes(problem.answer, found[problem.id]) for problem in problems}
    grades.save()
    spread = _spread(policy, start, rollouts)
    replies = []
    for place, (rollout, completion) in enumerate(zip(rollouts, completions, strict=True)):
        grade, problem = grades[indices[place]], asked[place]
        answer = grade.answer
        replies.append(
            Reply(
                problem=problem.id,
                sample=place % samples,
                correct=grade.correct,
                answer=answer,
                group=None if answer is None else groups[problem.id][answer, grade.correct],
                answer_probability=_answer_probability(rollout, answer, form),
                sampled=completion.tokens,
                entropy=spread[place][0],
                kl=spread[place][1],
                text=completion.reply,
                thinking=completion.thinking,
                answer_text=completion.answer,
                thinking_tokens=completion.thinking_tokens,
                max_tokens=completion.max_tokens,
                stop_cause=completion.stop_cause,
                finish_reason=completion.finish_reason,
            )
        )
    return replies


def save(path: Path, asked: dict[str, Any], replies: Sequence[Reply]) -> None:
    """Write what was asked and the replies; the file appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"asked": asked, "replies": [asdict(one) for one in replies]}), "utf-8")
    partial.replace(path)


def stored(path: Path, asked: dict[str, Any]) -> list[Reply] | None:
    """The replies of a file, None if there is none or something else was asked."""
    if not path.is_file():
        return None
    held = json.loads(path.read_text("utf-8"))
    return [Reply(**one) for one in held["replies"]] if held["asked"] == asked else None


def _answer_probability(rollout: Rollout, answer: str | None, form: ThinkingFormat) -> float | None:
    if not answer:
        return None
    pieces = [form.tokenizer.decode([token]) for token in rollout.token_ids]
    chosen = [
        None if inserted else logprob
        for logprob, inserted in zip(rollout.logprobs, rollout.inserted, strict=True)
    ]
    return span_probability(pieces, chosen, answer)


@torch.no_grad()
def _spread(policy: nn.Module, start: nn.Module, rollouts: Sequence[Rollout]) -> list[tuple[float, float]]:
    """Entropy of the policy and KL(policy || start), in nats, summed over each reply's sampled tokens."""
    found: list[tuple[float, float]] = []
    for counts, (ours, theirs) in sampled_logits((policy, start), rollouts, torch.device("cpu")):
        entropies = entropy(ours).split(counts)
        divergences = token_divergence(ours, theirs, beta=1.0).split(counts)
        found += [
            (float(e.double().sum()), float(d.double().sum()))
            for e, d in zip(entropies, divergences, strict=True)
        ]
    return found
