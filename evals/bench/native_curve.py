"""A budget curve as lm-eval draws one today: a run for each budget, under vLLM's own `thinking_token_budget`.

lm-eval's client keeps no usage and no reasoning; here it is watched while it reads the replies, so that
tokens can be counted. What it sends and scores is untouched.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.models.openai_completions import LocalChatCompletion
from lm_eval.tasks import TaskManager

from clients import ThinkingFormat
from evals.budgets import Budget
from evals.problems import Problem

TASK = "curve_cost"


@dataclass(frozen=True, slots=True)
class NativePoint:
    """One budget's replies.

    answers: by problem id. generated_tokens: that the server decoded, early-stop text included: it decodes
    that too, a step a token. thinking_tokens: without it. forced: replies whose thinking it ended.
    leaked: replies whose answer has the early-stop text in it. over: replies that thought longer than asked.
    """

    answers: dict[str, str]
    generated_tokens: int
    thinking_tokens: int
    forced: int
    leaked: int
    over: int


class NativeCurve:
    """Asks a plain vLLM server through lm-eval's own client. Loading the task is not part of a point."""

    def __init__(
        self,
        base_url: str,
        model: str,
        form: ThinkingFormat,
        problems: Sequence[Problem],
        folder: Path,
        concurrency: int,
        max_tokens: int,
    ) -> None:
        self._form = form
        self._problems = problems
        data = folder / "problems.jsonl"
        rows = [{"id": p.id, "problem": p.problem, "answer": p.answer} for p in problems]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        config: dict[str, Any] = {
            "task": TASK,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "{{problem}}",
            "doc_to_target": "{{answer}}",
            "num_fewshot": 0,
            "generation_kwargs": {
                "until": [],
                "do_sample": False,
                "temperature": 0,
                "max_gen_toks": max_tokens,
            },
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        }
        self._tasks: Any = TaskManager(include_defaults=False).load([config])
        self._settings = dict(config["generation_kwargs"])
        self._model = _Watched(
            model=model, base_url=f"{base_url}/v1/chat/completions", num_concurrent=concurrency
        )

    def point(self, budget: Budget) -> NativePoint:
        """Draw and score one budget, as one run of lm-eval."""
        own = {} if budget == "max" else {"thinking_token_budget": budget}
        self._tasks["tasks"][TASK].set_config("generation_kwargs", self._settings | own)
        self._model.replies.clear()
        found = evaluate(lm=self._model, task_dict=self._tasks, bootstrap_iters=0, apply_chat_template=True)
        answers = {s["doc"]["id"]: s["resps"][0][0] for s in found["samples"][TASK]}
        return self._counted(budget, answers, self._model.replies)

    def _counted(
        self, budget: Budget, answers: dict[str, str], replies: Sequence[dict[str, Any]]
    ) -> NativePoint:
        said = self._form.stop_text.partition(self._form.close)[0].strip()
        generated = thinking = forced = leaked = over = 0
        for reply in replies:
            message, usage = reply["choices"][0]["message"], reply["usage"]
            cut = bool(said) and (message["reasoning"] or "").rstrip().endswith(said)
            thought = usage["completion_tokens_details"]["reasoning_tokens"]
            if cut:
                # What vLLM counts as reasoning has the early-stop text in it, up to the closing tag.
                thought -= self._form.stop_ids.index(self._form.close_id)
            generated += usage["completion_tokens"]
            thinking += thought
            forced += cut
            leaked += bool(said) and said in (message["content"] or "")
            over += isinstance(budget, int) and thought > budget
        return NativePoint(answers, generated, thinking, forced, leaked, over)


class _Watched(LocalChatCompletion):
    """lm-eval's client of chat servers, unchanged but for keeping each response it reads."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.replies: list[dict[str, Any]] = []

    def parse_generations(self, outputs: Any, **options: Any) -> list[str]:
        """As the client does."""
        self.replies += outputs if isinstance(outputs, list) else [outputs]
        parsed: list[str] = super().parse_generations(outputs, **options)
        return parsed
