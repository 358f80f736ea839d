"""Draw replies from a server and turn each into a record: uncut, forked from a trace, or under a budget."""

import hashlib
from typing import Any

from clients import AsyncClient, Choice, Finished, Reply
from evals.budgets import Budget
from evals.problems import Problem
from evals.problems.prompts import Preset, preset_of
from evals.records import Kind, Record, content_hash, problem_hash
from evals.sweep.dialects import Dialect, thinks_not
from evals.sweep.endpoints import Answered, Endpoints
from evals.sweep.logprobs import token_logprobs
from evals.sweep.settings import CONFIDENCE_PROMPT, SweepSettings
from evals.sweep.traces import Cut, answer_start

CONFIDENCE_TOKENS = 64
"""Most tokens of a reply that should be one number."""


class Sampler:
    """Draws the replies of one sweep. Keys can be asked for before anything is drawn.

    stored: the settings of the manifest, on which the keys depend.
    """

    def __init__(
        self, endpoints: Endpoints, dialect: Dialect, settings: SweepSettings, stored: dict[str, Any]
    ) -> None:
        self._endpoints = endpoints
        self._endpoint = endpoints.described
        self._dialect = dialect
        self._settings = settings
        self._top = settings.alternatives(dialect)
        self._context = {
            name: stored[name]
            for name in ("model", "max_model_len", "dialect", "thinking_format", "sampling")
        }
        self._presets: dict[str, Preset] = {}

    def key(self, kind: Kind, problem: Problem, sample: int, budget: Budget) -> str:
        """The content key of one reply."""
        return content_hash(
            [kind, problem_hash(problem), self._prompt(problem), sample, budget, self._context]
        )

    def confidence_key(self, of: str) -> str:
        """The content key of what the model says of the reply with the key `of`."""
        return content_hash(["confidence", of, CONFIDENCE_PROMPT])

    async def chat(self, kind: Kind, problem: Problem, sample: int, budget: Budget) -> Record:
        """A reply through the chat route, under the server's own budget ("max": none).

        Raises clients.APIError when the server refuses, RuntimeError when a server of ours exceeds the
        budget.
        """
        options = self._options(kind, problem, sample, budget)
        options["extra"] |= self._dialect.fields(budget)
        if self._settings.max_tokens is not None:
            options["extra"][self._dialect.limit] = self._settings.max_tokens
        answered = await self._chat(self._turns(problem), options)
        reply, choice = answered.reply, answered.reply.choices[0]
        start = self._answer_start(reply)
        counts = self._counts(reply, start)
        thought = counts["thinking_tokens"] or 0
        if self._dialect.exact and isinstance(budget, int) and thought > budget:
            raise RuntimeError(
                f"the server gave {thought} thinking tokens for a budget of {budget} "
                f"(problem {problem.id!r}); it does not keep budgets, so there is no curve to measure"
            )
        thinking, answer = _split(choice)
        inserted = range(start - counts["inserted_tokens"], start)
        return self._record(
            self.key(kind, problem, sample, budget),
            kind,
            problem,
            sample,
            budget,
            **counts,
            **_of_request(answered),
            seed=options.get("seed"),
            thinking=thinking,
            answer=answer,
            token_ids=choice.token_ids,
            prompt_token_ids=reply.prompt_token_ids,
            logprobs=token_logprobs(choice, self._top, inserted),
        )

    async def fork(self, problem: Problem, trace: Record, budget: Budget, cut: Cut) -> Record:
        """An answer from the kept tokens of a trace and the early-stop text, as token ids.

        Asked of the server that drew the trace, which has its prefix cached.
        Raises clients.APIError when the server refuses.
        """
        assert self._endpoint.thinking is not None
        assert trace.prompt_token_ids is not None
        assert trace.token_ids is not None
        format = self._endpoint.thinking
        inserted = format.stop_ids if cut.inserts else []
        prefix = trace.prompt_token_ids + trace.token_ids[: cut.kept] + inserted
        options = self._options("fork", problem, trace.sample, budget)
        # As after a server's own cut, the answer may not open thinking again; a default budget is not for it.
        options["budget"] = -1
        options["extra"]["logit_bias"] = {str(format.open_id): -100}
        room = self._room(len(trace.prompt_token_ids), cut.kept + len(inserted))
        fields: dict[str, Any] = {
            "stop_cause": "budget" if cut.inserts else "natural",
            "thinking_tokens": cut.thinking,
            "inserted_tokens": len(inserted),
            "seed": options.get("seed"),
            "thinking": None,
            "trace": trace.key,
            "cut": cut.kept,
        }
        if room > 0:
            answered = await self._endpoints.ask(
                lambda client: client.complete(prefix, max_tokens=room, **options), trace.endpoint
            )
            choice = answered.reply.choices[0]
            token_ids = choice.token_ids or []
            fields |= _of_request(answered) | {
                "answer": choice.answer,
                "logprobs": token_logprobs(choice, self._top, range(0)),
            }
        else:
            # No room for the early-stop text and an answer: the server would end the reply while thinking.
            token_ids = []
            fields |= {"stop_cause": "length", "inserted_tokens": 0, "finish_reason": "length"}
            fields |= {"answer": "", "prompt_tokens": 0, "attempts": 0, "seconds": 0.0}
        return self._record(
            self.key("fork", problem, trace.sample, budget),
            "fork",
            problem,
            trace.sample,
            budget,
            answer_tokens=len(token_ids),
            generated_tokens=len(token_ids),
            token_ids=token_ids,
            **fields,
        )

    async def confidence(self, problem: Problem, of: Record) -> Record:
        """How sure the model says it is of a reply: a turn after its answer, greedy and without thinking.

        The turn shows the answer, not the thinking, which chat templates take out of earlier turns.
        Raises clients.APIError when the server refuses.
        """
        turns = [
            *self._turns(problem),
            {"role": "assistant", "content": of.answer},
            {"role": "user", "content": CONFIDENCE_PROMPT},
        ]
        extra = self._dialect.fields(0) | {self._dialect.limit: CONFIDENCE_TOKENS}
        options: dict[str, Any] = {"model": self._endpoint.model, "extra": extra}
        if self._settings.sampling.no_thinking.temperature is not None:
            options["temperature"] = 0
        answered = await self._chat(turns, options, of.endpoint)
        usage = answered.reply.usage
        generated = usage.completion_tokens if usage else None
        return self._record(
            self.confidence_key(of.key),
            "confidence",
            problem,
            of.sample,
            of.budget,
            **_of_request(answered),
            stop_cause=None,
            thinking_tokens=None,
            inserted_tokens=0,
            answer_tokens=generated,
            generated_tokens=generated,
            seed=None,
            thinking=None,
            answer=_split(answered.reply.choices[0])[1],
            of=of.key,
        )

    async def _chat(
        self, messages: list[dict[str, str]], options: dict[str, Any], prefer: str | None = None
    ) -> Answered:
        async def streamed(client: AsyncClient) -> Reply:
            async for event in client.stream(messages, **options):
                if isinstance(event, Finished):
                    return event.reply
            raise AssertionError("a stream ends with Finished or raises")

        async def whole(client: AsyncClient) -> Reply:
            return await client.chat(messages, **options)

        return await self._endpoints.ask(streamed if self._dialect.streams else whole, prefer)

    def _turns(self, problem: Problem) -> list[dict[str, str]]:
        """What is sent: the turns that a problem brings, else its prompt."""
        turns = problem.messages or (("user", self._prompt(problem)),)
        return [{"role": role, "content": text} for role, text in turns]

    def _prompt(self, problem: Problem) -> str:
        """By what the prompt was when the set was first asked: a file may change while a sweep runs."""
        if problem.set not in self._presets:
            self._presets[problem.set] = preset_of(problem.set, self._settings.prompt)
        return self._presets[problem.set].fill(problem.problem)

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
        """Of every reply but confidence: model, sampling, seed, and what shall be returned."""
        sampling = self._settings.sampling
        values = sampling.no_thinking if thinks_not(budget) else sampling.thinking
        options: dict[str, Any] = {
            "model": self._endpoint.model,
            "temperature": values.temperature,
            "extra": {},
        }
        if values.presence_penalty:
            options["extra"]["presence_penalty"] = values.presence_penalty
        if not values.greedy:
            options["top_p"] = values.top_p
            if self._dialect.has_top_k:
                # vLLM's own default is -1 or 0 by version, a model's generation config may say otherwise.
                options["top_k"] = values.top_k
            options["seed"] = _seed(self._settings.seed, kind, problem.id, sample, budget)
        options["logprobs"] = self._top
        options["return_token_ids"] = self._endpoint.thinking is not None
        return options

    def _answer_start(self, reply: Reply) -> int:
        """Index of the first token after thinking; 0 from servers that do not tell."""
        format = self._endpoint.thinking
        if format is None:
            return 0
        choice, report = reply.choices[0], reply.report
        if report is None or choice.token_ids is None or reply.prompt_token_ids is None:
            raise RuntimeError(
                "the server has /v1/thinking/format, but its reply lacks the thinking report or the token ids"
            )
        return answer_start(choice.token_ids, report, format, ended=choice.finish_reason == "stop")

    def _counts(self, reply: Reply, start: int) -> dict[str, Any]:
        """stop_cause and token counts of a chat reply, from its token ids where the server gives them."""
        report, token_ids = reply.report, reply.choices[0].token_ids
        if report is None or token_ids is None:
            total = reply.usage.completion_tokens if reply.usage else None
            thought = reply.usage.reasoning_tokens if reply.usage else None
            return {
                "stop_cause": None,
                "thinking_tokens": thought,
                "inserted_tokens": 0,
                "answer_tokens": None if total is None or thought is None else total - thought,
                "generated_tokens": total,
            }
        return {
            "stop_cause": report.stop_cause,
            "thinking_tokens": report.tokens,
            "inserted_tokens": report.inserted_tokens,
            "answer_tokens": len(token_ids) - start,
            "generated_tokens": len(token_ids) - report.inserted_tokens,
        }

    def _record(
        self, key: str, kind: Kind, problem: Problem, sample: int, budget: Budget, **fields: Any
    ) -> Record:
        return Record(
            key=key,
            kind=kind,
            problem=problem.id,
            level=problem.level,
            subject=problem.subject,
            chance=problem.chance,
            gold=problem.answer,
            sample=sample,
            budget=budget,
            set=problem.set or None,
            **fields,
        )


def _of_request(answered: Answered) -> dict[str, Any]:
    """What a record keeps of the request that was answered."""
    usage = answered.reply.usage
    return {
        "finish_reason": answered.reply.finish_reason,
        "seconds": answered.seconds,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "endpoint": answered.base_url,
        "attempts": answered.attempts,
    }


def _seed(seed: int, kind: Kind, problem: str, sample: int, budget: Budget) -> int:
    """A seed of 31 bits, its own for every reply, so that replies are independent draws."""
    digest = hashlib.sha256(f"{seed}\0{kind}\0{problem}\0{sample}\0{budget}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _split(choice: Choice) -> tuple[str, str]:
    """Thinking and answer; a server without a reasoning parser leaves both in the answer."""
    if not choice.thinking and "</think>" in choice.answer:
        thinking, _, answer = choice.answer.rpartition("</think>")
        return thinking.strip().removeprefix("<think>"), answer
    return choice.thinking, choice.answer
