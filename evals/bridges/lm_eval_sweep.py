"""Sweep lm-eval tasks over budgets: draw every reply first, then have lm-eval score each budget's.

The run directory is one as any sweep writes, so reports, comparisons and profiles work on it. Beside it lie
`scores.json`, lm-eval's score of each single reply, and `lm_eval_results.json`, the metrics of each task at
each budget as lm-eval computes them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.filters.selection import TakeKFilter
from lm_eval.tasks import TaskManager

from evals.bridges.lm_eval_model import (
    Draw,
    StoredReplies,
    cut_answer,
    problem_id,
    refuse_loglikelihood,
)
from evals.bridges.replies import replies_at
from evals.records import Record
from evals.summary.scores import Scores
from evals.sweep.settings import SweepSettings

RESULTS = "lm_eval_results.json"
FEWSHOT_SEED = 1234
BOOTSTRAPS = 1000


@dataclass(frozen=True, slots=True)
class TaskChoice:
    """Which lm-eval tasks are asked, and how.

    tasks: names of tasks, groups or tags, or paths of task files. include_path: folders with further tasks.
    limit: the first so many documents of each. fewshot: examples, None for what each task says.
    multiturn: whether examples are turns of their own. system: a system turn. metric, filter: whose score
    of a reply counts; None is the first of each task. unsafe_code: let tasks run code that the model wrote.
    """

    tasks: tuple[str, ...]
    include_path: tuple[Path, ...] = ()
    limit: int | None = None
    fewshot: int | None = None
    multiturn: bool = True
    system: str | None = None
    metric: str | None = None
    filter: str | None = None
    unsafe_code: bool = False


def load_tasks(choice: TaskChoice) -> dict[str, Any]:
    """The tasks as lm-eval's TaskManager loads them.

    Raises ValueError for a name that is no task and for tasks that do not generate text, OSError where a
    data set cannot be had.
    """
    folders = [str(folder) for folder in choice.include_path]
    # lm-eval brings thousands of task files, which take seconds to read: only where they are needed.
    manager = TaskManager(include_path=folders, include_defaults=False)
    if not set(choice.tasks) <= set(manager.all_subtasks):
        manager = TaskManager(include_path=folders)
    try:
        loaded: dict[str, Any] = manager.load(list(choice.tasks))
    except KeyError as error:
        raise ValueError(
            f"tasks: {error.args[0]}; `lm-eval ls tasks` lists those it brings, --include-path adds a folder"
        ) from error
    refused = [name for name, task in loaded["tasks"].items() if task.OUTPUT_TYPE != "generate_until"]
    if refused:
        refuse_loglikelihood(refused)
    return loaded


def sweep_tasks(
    choice: TaskChoice, settings: SweepSettings, draw: Draw, samples: int | None
) -> dict[str, Any]:
    """Draw what the run directory lacks, score all of it, and write `RESULTS` and the scores.

    samples: replies for each document and budget; None is how often the tasks themselves ask. Returns what
    `RESULTS` holds. Raises ValueError for tasks that cannot be swept, and what `draw` raises.
    """
    loaded = load_tasks(choice)
    tasks: dict[str, Task] = loaded["tasks"]
    for name, task in tasks.items():
        _configure(name, task, choice, samples)
    golds = {
        (name, doc_id): gold(task, doc) for name, task in tasks.items() for doc_id, doc in _docs(task, choice)
    }
    model = StoredReplies(settings, draw, settings.budgets[0], golds)
    values: dict[str, float] = {}
    metrics: dict[str, str] = {}
    points = []
    for budget in settings.budgets:
        model.budget = budget
        for task in tasks.values():
            # A task draws its examples from a generator that goes on: the prompts must not change by budget.
            task.set_fewshot_seed(FEWSHOT_SEED)
        found = evaluate(
            lm=model,
            task_dict=loaded,
            limit=choice.limit,
            bootstrap_iters=BOOTSTRAPS,
            log_samples=False,
            system_instruction=choice.system,
            apply_chat_template=True,
            fewshot_as_multiturn=choice.multiturn,
            confirm_run_unsafe_code=choice.unsafe_code,
        )
        for name, task in tasks.items():
            scored = _score(name, task, model, choice)
            if scored.values:
                metrics[name] = scored.metric
                values |= scored.values
        points.append({"budget": budget, "missing": model.missing, **_numbers(found)})
    source = f"lm-eval {version('lm-eval')}"
    Scores(source, metrics, values).write(settings.out)
    for point in points:
        point["each_sample"] = _means(tasks, model, point["budget"], values)
    results = {
        "source": source,
        "metrics": metrics,
        "tasks": {name: _describe(task) for name, task in tasks.items()},
        "points": points,
    }
    text = json.dumps(results, indent=1, default=str)
    (settings.out / RESULTS).write_text(text + "\n", "utf-8")
    return results


def gold(task: Task, doc: Mapping[str, Any]) -> str:
    """The expected answer of a document, as a grader of final answers reads it.

    Of several targets the first; of a worked solution what stands after GSM8K's "####".
    """
    target = task.doc_to_target(doc)
    if isinstance(target, list | tuple):
        target = target[0] if target else ""
    choices = task.config.doc_to_choice
    if isinstance(target, int) and choices is not None:
        target = task.doc_to_choice(doc)[target]
    return str(target).rpartition("####")[2].strip()


def _docs(task: Task, choice: TaskChoice) -> list[tuple[int, dict[str, Any]]]:
    return list(task.doc_iterator(limit=choice.limit, rank=0, world_size=1))


def _configure(name: str, task: Task, choice: TaskChoice, samples: int | None) -> None:
    if samples is not None:
        needed = max((_first_k(ensemble) for ensemble in task._filters), default=1)
        if samples < needed:
            raise ValueError(f"samples: {samples} is too few for {name}, which takes the first {needed}")
        task.set_config("repeats", samples)
    fewshot = task.get_config("num_fewshot")
    if fewshot is None or (choice.fewshot is not None and fewshot != 0):
        # As lm-eval: a task that says 0 is not given examples.
        task.set_config("num_fewshot", choice.fewshot or 0)


def _first_k(ensemble: Any) -> int:
    """How many answers to a document a chain of filters takes at least."""
    return max((f.k for make in ensemble.filters if isinstance(f := make(), TakeKFilter)), default=1)


@dataclass(frozen=True, slots=True)
class _Scored:
    metric: str
    values: dict[str, float]


def _score(name: str, task: Task, model: StoredReplies, choice: TaskChoice) -> _Scored:
    """Have the task score every reply at the model's budget alone, as if it had been the only one.

    lm-eval itself scores the first of several, or their majority.
    """
    ensemble = _single_filter(name, task, choice)
    instances, ensembles = task._instances, task._filters
    chosen = replies_at(model.records.values(), model.budget)
    # Of a forked run, replies drawn directly to check it.
    checks = {
        (r.problem, r.sample): r
        for r in model.records.values()
        if r.kind == "direct" and r.budget == model.budget and chosen.get((r.problem, r.sample)) is not r
    }
    metric = ""
    values: dict[str, float] = {}
    task._filters = [ensemble]
    for replies, sample in product((chosen, checks), range(task.config.repeats)):
        by_doc: dict[int, list[tuple[Instance, Record | None]]] = {}
        for instance in instances:
            reply = replies.get((problem_id(instance), sample))
            by_doc.setdefault(instance.doc_id, []).append((instance, reply))
        for group in by_doc.values():
            found = _score_document(task, group, ensemble.name)
            if found is not None:
                metric = metric or _metric(name, found, choice)
                values |= {reply.key: float(found[metric]) for _, reply in group if reply is not None}
    task._instances, task._filters = instances, ensembles
    return _Scored(f"{metric},{ensemble.name}", values)


def _score_document(
    task: Task, group: Sequence[tuple[Instance, Record | None]], filter: str
) -> dict[str, Any] | None:
    """The task's metrics of one reply to each request of a document; None where one has no reply."""
    alone = [
        replace(request, resps=[cut_answer(reply.answer, request.args[1].get("until"))], filtered_resps={})
        for request, reply in group
        if reply is not None
    ]
    if len(alone) < len(group):
        return None
    task._instances = alone
    task.apply_filters()
    found: dict[str, Any] = task.process_results(alone[0].doc, [i.filtered_resps[filter] for i in alone])
    return found


def _single_filter(name: str, task: Task, choice: TaskChoice) -> Any:
    """The filter whose score of one reply counts."""
    usable = {e.name: e for e in task._filters if _first_k(e) == 1}
    if choice.filter is None and usable:
        return next(iter(usable.values()))
    if choice.filter in usable:
        return usable[choice.filter]
    raise ValueError(
        f"filter: {choice.filter!r} of {name} cannot score a single reply; "
        f"those that can: {', '.join(usable) or 'none'}"
    )


def _metric(name: str, found: Mapping[str, Any], choice: TaskChoice) -> str:
    """The metric that counts, which must be a share of full credit."""
    shares = [m for m, value in found.items() if isinstance(value, bool | int | float) and 0 <= value <= 1]
    wanted = choice.metric or next(iter(found))
    if wanted in shares:
        return wanted
    raise ValueError(
        f"metric: {wanted!r} of {name} is {found.get(wanted)!r} for one reply, not a share of full credit; "
        f"give one of: {', '.join(shares) or 'none of them is'}"
    )


def _numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    return {part: found[part] for part in ("results", "groups") if part in found}


def _means(
    tasks: Mapping[str, Task], model: StoredReplies, budget: Any, values: Mapping[str, float]
) -> dict[str, Any]:
    """Mean score over all documents and samples at a budget, for each task."""
    replies = replies_at(model.records.values(), budget).values()
    means = {}
    for name in tasks:
        scores = [values[r.key] for r in replies if r.problem.startswith(f"{name}/") and r.key in values]
        means[name] = sum(scores) / len(scores) if scores else None
    return means


def _describe(task: Task) -> dict[str, Any]:
    """What the task asked for; its temperature and max_gen_toks are not used, its stop strings are."""
    return {
        "version": task.VERSION if task.config.metadata is None else task.config.metadata.get("version"),
        "fewshot": task.config.num_fewshot,
        "repeats": task.config.repeats,
        "generation_kwargs": task.config.generation_kwargs,
    }


def result_table(results: Mapping[str, Any]) -> str:
    """lm-eval's metrics as text: a line for each task and metric, a column for each budget."""
    points: Sequence[Mapping[str, Any]] = results["points"]
    rows = [["lm-eval", *(str(point["budget"]) for point in points)]]
    for name in results["tasks"]:
        counted = results["metrics"].get(name, "nothing")
        cells = [point["results"].get(name, {}) for point in points]
        keys = [
            k for k, v in cells[0].items() if "," in k and "_stderr," not in k and isinstance(v, int | float)
        ]
        rows += [[f"{name} {key}", *(f"{cell[key]:.4f}" for cell in cells)] for key in keys]
        each = [point["each_sample"][name] for point in points]
        rows.append(
            [f"{name} {counted}, all samples", *("-" if mean is None else f"{mean:.4f}" for mean in each)]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
