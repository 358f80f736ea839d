"""Accuracy on held-out problems while a stage trains: greedy, in both modes and at a budget or two."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object

from evals.grading import grade_many
from evals.problems import Problem, load
from serve.formats import ThinkingFormat
from trainer.examples import Example
from trainer.recipe import Recipe
from trainer.recipe.rl import Rollouts
from trainer.recipe.stages import RLStage, Stage
from trainer.rollouts.text import to_completion
from trainer.rollouts.types import RolloutBackend, RolloutRequest, Sampling
from trainer.rows.conversation import plain_conversation, prompt_ids


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to ask all problems: a mode, and a budget (thinking tokens) where thinking is cut."""

    name: str
    thinks: bool
    budget: int | None = None


def choose_arms(recipe: Recipe, stage: RLStage) -> list[Arm]:
    """Both modes without budgets, and two of the ablation's budgets, or the middle of the stage's own."""
    budgets: list[int] = []
    if recipe.ablation is not None:
        listed = sorted(recipe.ablation.budgets)
        budgets = sorted({listed[(len(listed) - 1) // 3], listed[2 * (len(listed) - 1) // 3]})
    elif stage.budget.mode != "off":
        budgets = [(stage.budget.low + stage.budget.high) // 2]
    arms = [Arm("think", True), Arm("no_think", False)]
    return arms + [Arm(f"budget_{budget}", True, budget) for budget in budgets if budget > 0]


def held_out_problems(recipe: Recipe, stage: Stage) -> list[Problem]:
    """The stage's number of them: the first of the ablation's set, or of thinkmath's held-out ones."""
    name = "thinkmath" if recipe.ablation is None else recipe.ablation.problems
    return load(name, limit=stage.held_out_problems)


def measure(
    backend: RolloutBackend,
    problems: Sequence[Problem],
    arms: Sequence[Arm],
    settings: Rollouts,
    form: ThinkingFormat,
    processes: Accelerator | PartialState,
) -> dict[str, float]:
    """`summarise` of `answer_all`; every process calls this and gets the result."""
    return summarise(answer_all(backend, problems, arms, settings, form, processes), arms)


@dataclass(frozen=True, slots=True)
class Answer:
    """A graded reply: which problem, under which arm, and whether its thinking was cut."""

    arm: str
    problem: str
    right: bool
    cut: bool
    thinking_tokens: int


def answer_all(
    backend: RolloutBackend,
    problems: Sequence[Problem],
    arms: Sequence[Arm],
    settings: Rollouts,
    form: ThinkingFormat,
    processes: Accelerator | PartialState,
) -> list[Answer]:
    """Greedy replies to every problem under every arm; dealt over processes, each of which gets them all."""
    asked = [(arm, problem) for arm in arms for problem in problems]
    own = asked[processes.process_index :: processes.num_processes]
    requests = [
        RolloutRequest(
            prompt_ids=tuple(prompt_ids(form, plain_conversation(Example(problem), arm.thinks))),
            max_tokens=settings.max_tokens,
            seed=0,
            budget=arm.budget,
            answer_tokens=settings.answer_tokens,
        )
        for arm, problem in own
    ]
    rollouts = backend.generate(requests, Sampling(temperature=0.0)) if requests else []
    completions = [
        to_completion(rollout, problem, arm.thinks, form.tokenizer, form)
        for rollout, (arm, problem) in zip(rollouts, own, strict=True)
    ]
    grades = grade_many([(one.problem.answer, one.answer) for one in completions])
    answers = [
        Answer(arm.name, problem.id, grade.correct, one.stop_cause == "budget", one.thinking_tokens)
        for (arm, problem), one, grade in zip(own, completions, grades, strict=True)
    ]
    return gather_object(answers)


def summarise(answers: Sequence[Answer], arms: Sequence[Arm]) -> dict[str, float]:
    """Shares of right answers: `eval/<arm>`, and `eval/<arm>_cut` of those whose thinking was cut.

    `eval/thinking_tokens` is the mean of the arm that thinks without a budget.
    """
    metrics = {}
    for arm in arms:
        its = [answer for answer in answers if answer.arm == arm.name]
        cut = [answer for answer in its if answer.cut]
        metrics[f"eval/{arm.name}"] = fmean(answer.right for answer in its)
        if arm.budget is not None and cut:
            metrics[f"eval/{arm.name}_cut"] = fmean(answer.right for answer in cut)
        if arm.thinks and arm.budget is None:
            metrics["eval/thinking_tokens"] = fmean(answer.thinking_tokens for answer in its)
    return metrics
