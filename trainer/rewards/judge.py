"""What a judge at an OpenAI-compatible endpoint says of a reply, for what cannot be verified."""

import asyncio
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import httpx
from pydantic import Field, model_validator

from clients import APIError
from clients.wire import api_root
from evals.sweep.endpoints import Endpoints
from trainer.completion import Completion
from trainer.recipe.section import Section
from trainer.rewards.terms import Noted, Range
from trainer.rewards.verdicts import TEMPLATES, ask, check_template, read_verdict

KEY_VARIABLE = "THINKDIAL_JUDGE_KEY"
"""Environment variable with the judge's API key, if it asks for one."""
UNKNOWN = 0.5
"""What replies of a group get of which none could be judged: no difference, in the middle of the range."""

Question = tuple[tuple[str, str], ...]
"""(role, content) messages, which tell one question from another."""


class JudgeError(RuntimeError):
    """The judge cannot be asked."""


class Judge(Section):
    """A judge's opinion of a reply, 0 to 1. trainer/rewards/verdicts.py says how it is asked.

    `score`: a number from 0 to 10, divided by 10. `compare`: the share of comparisons with the next `rivals`
    replies of its group that it wins, each asked in both orders, as judges prefer a place (Zheng et al. 2023,
    section 3.4); a tie is half a win.

    A judgement without a verdict in the form asked for counts as unparsable, and says nothing. The notes are
    `judge/text`, what the judge said, and `judge/unparsable`, the share of such judgements.
    """

    url: str
    """Of a server of the OpenAI API, with or without /v1."""
    model: str
    form: Literal["score", "compare"] = "score"
    template: Path | None = None
    """A text file with {problem} and {reply}, for `compare` {reply_a} and {reply_b}, and maybe {reference},
    the problem's answer; None is `verdicts.TEMPLATES`. How to end is added to it."""
    reads: Literal["answer", "reply"] = "answer"
    """What of a reply the judge is shown: what follows the thinking, or all of it."""
    rivals: int | None = Field(default=None, gt=0)
    """compare: 1 unless given."""
    unparsable: float | Literal["mean"] = "mean"
    """The value of a reply without one verdict: a number from 0 to 1, or the mean of the group's others."""
    max_tokens: int = Field(default=1024, gt=0)
    temperature: float = Field(default=0.0, ge=0)
    retries: int = Field(default=5, ge=0)
    """Of a question that fails: refused connections, timeouts, too many requests, the server's own errors."""
    seconds: float = Field(default=300.0, gt=0)
    """Longest wait for the next bytes of a judgement."""
    concurrency: int = Field(default=16, gt=0)
    """Questions at once, of one process."""

    right: ClassVar[Range] = Range(0.0, 1.0)
    wrong: ClassVar[Range] = Range(0.0, 1.0)

    @model_validator(mode="after")
    def _can_be_asked(self) -> "Judge":
        api_root(self.url)
        if self.unparsable != "mean" and not 0 <= self.unparsable <= 1:
            raise ValueError(f"unparsable: {self.unparsable} is no value of a judge; give 0 to 1, or 'mean'")
        if self.rivals is not None and self.form != "compare":
            raise ValueError(f"rivals: {self.rivals} is for form 'compare'; form is {self.form!r}")
        check_template(self._template, self.form)
        return self

    def score_step(self, groups: Sequence[Sequence[Completion]]) -> list[list[Noted]]:
        """Raises JudgeError where the judge refuses a question, or fails it after all retries."""
        asked = [self._questions(group) for group in groups]
        distinct = dict.fromkeys(question for its in asked for _, _, question in its)
        said = dict(zip(distinct, asyncio.run(self._ask_all(list(distinct))), strict=True))
        return [self._values(group, its, said) for group, its in zip(groups, asked, strict=True)]

    def _questions(self, group: Sequence[Completion]) -> list[tuple[int, int | None, Question]]:
        """Each question with the place of the reply it judges, and of the rival that it is compared with."""
        if self.form == "score":
            return [
                (place, None, self._question(one, {"reply": self._shown(one)}))
                for place, one in enumerate(group)
            ]
        size = len(group)
        return [
            (
                place,
                other,
                self._question(one, {"reply_a": self._shown(one), "reply_b": self._shown(group[other])}),
            )
            for place, one in enumerate(group)
            for step in range(1, min(self.rivals or 1, size // 2) + 1)
            for other in {(place + step) % size, (place - step) % size}
        ]

    def _question(self, completion: Completion, replies: dict[str, str]) -> Question:
        problem = completion.problem
        turns = [text for _, text in problem.messages] or [problem.problem]
        texts = {"problem": "\n\n".join(turns), "reference": problem.answer, **replies}
        return tuple((turn["role"], turn["content"]) for turn in ask(self._template, self.form, texts))

    def _shown(self, completion: Completion) -> str:
        return completion.answer.strip() if self.reads == "answer" else completion.reply

    def _values(
        self,
        group: Sequence[Completion],
        asked: Sequence[tuple[int, int | None, Question]],
        said: dict[Question, str],
    ) -> list[Noted]:
        verdicts: list[list[float | None]] = [[] for _ in group]
        texts: list[list[str]] = [[] for _ in group]
        for place, other, question in asked:
            verdict = read_verdict(said[question], self.form)
            verdicts[place].append(verdict)
            texts[place].append(said[question])
            if other is not None:
                verdicts[other].append(None if verdict is None else 1 - verdict)
        means = [_mean([verdict for verdict in its if verdict is not None]) for its in verdicts]
        others = _mean([mean for mean in means if mean is not None])
        missing = self.unparsable if self.unparsable != "mean" else UNKNOWN if others is None else others
        return [
            Noted(
                missing if mean is None else mean,
                {"judge/text": "\n----\n".join(text), "judge/unparsable": its.count(None) / len(its)},
            )
            for mean, its, text in zip(means, verdicts, texts, strict=True)
        ]

    async def _ask_all(self, questions: Sequence[Question]) -> list[str]:
        """What the judge says to each question; of a response that is no reply, what is wrong with it."""
        limit = asyncio.Semaphore(self.concurrency)
        async with Endpoints.named(
            self.url, self.model, os.environ.get(KEY_VARIABLE), self.retries, self.seconds
        ) as endpoints:

            async def one(question: Question) -> str:
                messages = [{"role": role, "content": content} for role, content in question]
                async with limit:
                    try:
                        answered = await endpoints.ask(
                            lambda client: client.chat(
                                messages,
                                model=self.model,
                                max_tokens=self.max_tokens,
                                temperature=self.temperature,
                            )
                        )
                    except (APIError, httpx.TransportError) as error:
                        if isinstance(error, APIError) and error.status == httpx.codes.OK:
                            return str(error)
                        raise JudgeError(
                            f"rewards: judge: {self.url} gave no judgement: {error or type(error).__name__}; "
                            "run the same command when it does, and the stage goes on from its last state"
                        ) from error
                return answered.reply.answer

            return list(await asyncio.gather(*map(one, questions)))

    @cached_property
    def _template(self) -> str:
        if self.template is None:
            return TEMPLATES[self.form]
        if not self.template.is_file():
            raise ValueError(f"template: there is no file {str(self.template)!r}; give a text file")
        return self.template.read_text(encoding="utf-8")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
