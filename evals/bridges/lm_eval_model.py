"""An lm-eval model that thinks within a budget: `thinkdial` in lm-eval's registry.

lm-eval asks one text for each request and budget at a time. Here the first call draws the replies at all
budgets into a run directory, forked or direct, each with its own seed and with all that lm-eval drops:
thinking, usage, finish reason, thinking report. What lm-eval scores is then looked up.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from evals.bridges.imported import label, subject
from evals.bridges.replies import replies_at
from evals.budgets import Budget, parse_budgets
from evals.problems import Problem
from evals.records import Record
from evals.store import read_records
from evals.sweep.presets import PRESETS
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings

Draw = Callable[[SweepSettings, Sequence[Problem]], object]
"""Draws what a store lacks: `run_sweep` with its server filled in."""


class Chat(str):
    """A conversation as lm-eval carries it: the JSON text of its turns."""

    __slots__ = ()

    @property
    def turns(self) -> tuple[tuple[str, str], ...]:
        """(role, text) of each turn."""
        return tuple((turn["role"], turn["content"]) for turn in json.loads(self))


class StoredReplies(LM):
    """Answers lm-eval's requests at `budget` from a run directory; what it lacks is drawn first.

    settings: of the sweep; as many samples are drawn as lm-eval repeats a request. draw: see `Draw`.
    golds: the expected answer of (task, document), as our own grader reads it; "" where absent.
    """

    def __init__(
        self,
        settings: SweepSettings,
        draw: Draw,
        budget: Budget,
        golds: Mapping[tuple[str, int], str] | None = None,
    ) -> None:
        super().__init__()
        self.budget = budget
        self.missing = 0
        self.records: dict[str, Record] = {}
        self._settings = settings
        self._draw = draw
        self._golds = golds or {}
        self._asked: dict[str, Problem] = {}

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answer to each request at `budget`, cut at the first of its stop strings.

        Thinking is no part of it, and a reply that never stopped thinking is "". So is one the server
        refused to give; `missing` counts those of the last call. Raises what `run_sweep` raises.
        """
        problems = {id(request): self._problem(request) for request in requests}
        repeats = Counter(map(id, requests))
        if len(set(repeats.values())) > 1:
            raise ValueError(
                f"samples: these tasks repeat a request {sorted(set(repeats.values()))} times; "
                "ask the same of all, or run them apart"
            )
        asked = {problem.id: problem for problem in problems.values()}
        if not asked.items() <= self._asked.items():
            self._draw(replace(self._settings, samples=max(repeats.values())), list(asked.values()))
            self.records, _ = read_records(self._settings.out)
            self._asked |= asked
        replies = replies_at(self.records.values(), self.budget)
        given: Counter[int] = Counter()
        answers = []
        self.missing = 0
        for request in requests:
            reply = replies.get((problems[id(request)].id, given[id(request)]))
            given[id(request)] += 1
            self.missing += reply is None
            answers.append("" if reply is None else cut_answer(reply.answer, request.args[1].get("until")))
        return answers

    def _problem(self, request: Instance) -> Problem:
        context = request.args[0]
        turns = context.turns if isinstance(context, Chat) else (("user", str(context)),)
        return Problem(
            id=problem_id(request),
            problem=turns[-1][1],
            answer=self._golds.get((request.task_name or "", request.doc_id or 0), ""),
            level=label(request.doc, "level"),
            subject=subject(request.doc, "subject"),
            set=request.task_name or "",
            messages=turns,
        )

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The turns themselves: the server applies its template. ValueError if a task begins the answer."""
        if not add_generation_prompt:
            raise ValueError(
                "tasks: one of them begins the answer for the model (gen_prefix), which leaves no place to "
                "think in; budgets mean nothing there"
            )
        return Chat(json.dumps(chat_history, ensure_ascii=False))

    @property
    def tokenizer_name(self) -> str:
        """Part of the name of lm-eval's request cache."""
        return "thinkdial"

    def loglikelihood(self, requests: list[Instance]) -> NoReturn:
        """Refused: see `refuse_loglikelihood`."""
        refuse_loglikelihood(sorted({request.task_name or "?" for request in requests}))

    def loglikelihood_rolling(self, requests: list[Instance]) -> NoReturn:
        """Refused: see `refuse_loglikelihood`."""
        refuse_loglikelihood(sorted({request.task_name or "?" for request in requests}))


@register_model("thinkdial")
class ThinkdialLM(StoredReplies):
    """The same by name, for scripts that call lm-eval themselves (import this module before).

        lm_eval.simple_evaluate(model="thinkdial", model_args={"base_url": "http://127.0.0.1:8000",
            "out": "runs/gsm8k", "budgets": "0,64,max", "budget": 64}, tasks=[...], apply_chat_template=True)

    budgets: all that are drawn at once; by default only `budget`, what lm-eval gets to score. sampling: a
    preset of `evals.sweep.presets`. options: further fields of `SweepSettings`. batch_size, max_batch_size
    and device are what lm-eval tells every model; a server decides for itself. Golds are not known here;
    `thinkdial eval lm-eval` stores them too.
    """

    def __init__(
        self,
        base_url: str,
        out: str,
        budget: Budget = "max",
        budgets: str | None = None,
        model: str | None = None,
        sampling: str = "qwen3",
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        (own,) = parse_budgets(str(budget))
        drawn = parse_budgets(f"{budget}" if budgets is None else f"{budgets},{budget}")
        settings = SweepSettings(
            problems="lm-eval", out=Path(out), budgets=tuple(drawn), sampling=PRESETS[sampling], **options
        )
        super().__init__(
            settings, lambda sweep, problems: run_sweep(sweep, base_url, model, problems=problems), own
        )


def problem_id(request: Instance) -> str:
    """The id of the problem that a request asks: task, document, place among the document's requests."""
    place = f"/{request.idx}" if request.idx else ""
    return f"{request.task_name}/{request.doc_id}{place}"


def cut_answer(answer: str, until: str | Sequence[str] | None) -> str:
    """An answer up to the first of the stop strings, as if it had been stopped there.

    Cutting here and not on the server lets any number of them apply, to the answer alone, on any server.
    White space before the answer is dropped, lest "\\n\\n" stop it before it begins.
    """
    answer = answer.lstrip()
    stops = [until] if isinstance(until, str) else until or []
    return answer[: min((answer.find(stop) for stop in stops if stop and stop in answer), default=None)]


def refuse_loglikelihood(tasks: Sequence[str]) -> NoReturn:
    """Raise ValueError naming the tasks."""
    raise ValueError(
        f"tasks: {', '.join(tasks)} compare likelihoods of given texts, where nothing is thought, so there "
        "is no budget to sweep; give tasks that generate (output_type generate_until), such as gsm8k_cot"
    )
