"""Draw replies from a server and turn each into a record: uncut, forked from a trace, or under a budget."""

import hashlib
import time
from typing import Any

from clients import AsyncClient, Choice, Reply
from clients.types import Messages
from evals.budgets import Budget
from evals.endpoint import Endpoint
from evals.problems import Problem
from evals.records import Kind, Record, content_hash, problem_hash
from evals.settings import SweepSettings
from evals.traces import Cut, answer_start


class Sampler:
    """Draws the replies of one sweep. Keys can be asked for before anything is drawn."""

    def __init__(self, client: AsyncClient, endpoint: Endpoint, settings: SweepSettings) -> None:
        self._client = client
        self._endpoint = endpoint
        self._settings = settings
        self._context = {
            "model": endpoint.model,
            "max_model_len": endpoint.max_model_len,
            "thinking_format": endpoint.thinking_settings(),
            "sampling": settings.sampling(),
        }

    def key(self, kind: Kind, problem: Problem, sample: int, budget: Budget) -> str:
        """The content key of one reply."""
        return content_hash([kind, problem_hash(problem), sample, budget, self._context])

    async def chat(self, kind: Kind, problem: Problem, sample: int, budget: Budget) -> Record:
        """A reply through the chat route, under the server's own budget ("max": none).

        Raises clients.APIError when the server refuses, RuntimeError when it exceeds the budget.
        """
        options = self._options(kind, problem, sample, budget)
        if self._endpoint.thinking is None:
            # Servers without our routes: vLLM's own request field, and thinking off by the chat template.
            if budget == 0:
                options["enable_thinking"] = False
            elif budget != "max":
                options["extra"] = {"thinking_token_budget": budget}
        else:
            options["budget"] = -1 if budget == "max" else budget
            options["return_token_ids"] = True
        if self._settings.max_tokens is not None:
            options["max_tokens"] = self._settings.max_tokens
        started = time.monotonic()
        reply = await self._client.chat(_turns(problem), **options)
        seconds = time.monotonic() - started
        counts = self._counts(reply)
        if isinstance(budget, int) and (counts["thinking_tokens"] or 0) > budget:
            raise RuntimeError(
                f"the server gave {counts['thinking_tokens']} thinking tokens for a budget of {budget} "
                f"(problem {problem.id!r}); it does not keep budgets, so there is no curve to measure"
            )
        thinking, answer = _split(reply.choices[0])
        return self._record(
            kind,
            problem,
            sample,
            budget,
            **counts,
            finish_reason=reply.finish_reason,
            seed=options.get("seed"),
            seconds=seconds,
            thinking=thinking,
            answer=answer,
            token_ids=reply.choices[0].token_ids,
            prompt_token_ids=reply.prompt_token_ids,
        )

    async def fork(self, problem: Problem, trace: Record, budget: int, cut: Cut) -> Record:
        """An answer from the kept tokens of a trace and the early-stop text, as token ids.

        Raises clients.APIError when the server refuses.
        """
        assert self._endpoint.thinking is not None
        assert trace.prompt_token_ids is not None
        assert trace.token_ids is not None
        format = self._endpoint.thinking
        inserted = format.stop_ids if cut.inserts else []
        prompt = trace.prompt_token_ids + trace.token_ids[: cut.kept] + inserted
        options = self._options("fork", problem, trace.sample, budget)
        # As after a server's own cut, the answer may not open thinking again; a default budget is not for it.
        options |= {"budget": -1, "extra": {"logit_bias": {str(format.open_id): -100}}}
        room = self._room(len(trace.prompt_token_ids), cut.kept + len(inserted))
        stop_cause = "budget" if cut.inserts else "natural"
        started = time.monotonic()
        if room > 0:
            reply = await self._client.complete(prompt, max_tokens=room, return_token_ids=True, **options)
            choice = reply.choices[0]
            answer, token_ids, finish_reason = choice.answer, choice.token_ids or [], choice.finish_reason
        else:
            # No room for the early-stop text and an answer: the server would end the reply while thinking.
            answer, token_ids, finish_reason = "", [], "length"
            stop_cause, inserted = "length", []
        return self._record(
            "fork",
            problem,
            trace.sample,
            budget,
            stop_cause=stop_cause,
            thinking_tokens=budget,
            inserted_tokens=len(inserted),
            answer_tokens=len(token_ids),
            generated_tokens=len(token_ids),
            finish_reason=finish_reason,
            seed=options.get("seed"),
            seconds=time.monotonic() - started,
            thinking=None,
            answer=answer,
            token_ids=token_ids,
            trace=trace.key,
            cut=cut.kept,
        )

    def _room(self, prompt: int, used: int) -> int:
        """Tokens left for an answer: what remains of max_tokens and of the context."""
        limits = []
        if self._settings.max_tokens is not None:
            limits.append(self._settings.max_tokens - used)
        if self._endpoint.max_model_len is not None:
            limits.append(self._endpoint.max_model_len - prompt - used)
        if not limits:
            raise ValueError("max_tokens: the server does not tell its context length; give --max-tokens")
        return min(limits)

    def _options(self, kind: Kind, problem: Problem, sample: int, budget: Budget) -> dict[str, Any]:
        settings = self._settings
        options: dict[str, Any] = {"model": self._endpoint.model, "temperature": settings.temperature}
        if settings.temperature > 0:
            options["top_p"] = settings.top_p
            # vLLM's own default is -1 or 0 by version, a model's generation config may say otherwise.
            options["top_k"] = settings.top_k
            options["seed"] = _seed(settings.seed, kind, problem.id, sample, budget)
        return options

    def _counts(self, reply: Reply) -> dict[str, Any]:
        """stop_cause and token counts of a chat reply, from its token ids where the server gives them."""
        choice, report, usage = reply.choices[0], reply.report, reply.usage
        format = self._endpoint.thinking
        if format is None:
            thinking_tokens = usage.reasoning_tokens if usage else None
            total = usage.completion_tokens if usage else 0
            return {
                "stop_cause": None,
                "thinking_tokens": thinking_tokens,
                "inserted_tokens": 0,
                "answer_tokens": None if thinking_tokens is None else total - thinking_tokens,
                "generated_tokens": total,
            }
        if report is None or choice.token_ids is None or reply.prompt_token_ids is None:
            raise RuntimeError(
                "the server has /v1/thinking/format, but its reply lacks the thinking report or the token ids"
            )
        start = answer_start(choice.token_ids, report, format, ended=choice.finish_reason == "stop")
        return {
            "stop_cause": report.stop_cause,
            "thinking_tokens": report.tokens,
            "inserted_tokens": report.inserted_tokens,
            "answer_tokens": len(choice.token_ids) - start,
            "generated_tokens": len(choice.token_ids) - report.inserted_tokens,
        }

    def _record(self, kind: Kind, problem: Problem, sample: int, budget: Budget, **fields: Any) -> Record:
        return Record(
            key=self.key(kind, problem, sample, budget),
            kind=kind,
            problem=problem.id,
            level=problem.level,
            subject=problem.subject,
            chance=problem.chance,
            gold=problem.answer,
            sample=sample,
            budget=budget,
            **fields,
        )


def _seed(seed: int, kind: Kind, problem: str, sample: int, budget: Budget) -> int:
    """A seed of 31 bits, its own for every reply, so that replies are independent draws."""
    digest = hashlib.sha256(f"{seed}\0{kind}\0{problem}\0{sample}\0{budget}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _turns(problem: Problem) -> Messages:
    return [{"role": role, "content": text} for role, text in problem.messages] or problem.problem


def _split(choice: Choice) -> tuple[str, str]:
    """Thinking and answer; a server without a reasoning parser leaves both in the answer."""
    if not choice.thinking and "</think>" in choice.answer:
        thinking, _, answer = choice.answer.rpartition("</think>")
        return thinking.strip().removeprefix("<think>"), answer
    return choice.thinking, choice.answer
