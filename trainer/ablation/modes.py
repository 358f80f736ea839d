"""How often a checkpoint thinks when it is told to, and does not when it is told not to.

Each problem is asked in every way a mode can be switched; the first tokens of the reply show what was heard.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clients import AsyncClient
from evals.problems import Problem
from evals.problems.prompts import preset_of

CONCURRENCY = 16
TIMEOUT_SECONDS = 3600.0
TOKENS = 32
"""Of a reply: enough to see whether it thinks."""
Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Way:
    """One way of switching modes. thinks: what a model that follows does.

    system: the system turn. flag: at the end of the last user turn. earlier: the flag of an earlier user
    turn, "" for one without, None for no earlier turn. enable_thinking: the chat template's own switch.
    """

    name: str
    thinks: bool
    system: str | None = None
    flag: str = ""
    earlier: str | None = None
    enable_thinking: bool | None = None


WAYS = (
    Way("nothing said", True),
    Way("hard switch on", True, enable_thinking=True),
    Way("hard switch off", False, enable_thinking=False),
    Way("/think in user turn", True, flag="/think"),
    Way("/no_think in user turn", False, flag="/no_think"),
    Way("/think in system turn", True, system="/think"),
    Way("/no_think in system turn", False, system="/no_think"),
    Way("/no_think in system, /think in user turn", True, system="/no_think", flag="/think"),
    Way("/think in system, /no_think in user turn", False, system="/think", flag="/no_think"),
    Way("/no_think, then /think a turn later", True, earlier="/no_think", flag="/think"),
    Way("/think, then /no_think a turn later", False, earlier="/think", flag="/no_think"),
    Way("/no_think, then a turn without a flag", False, earlier="/no_think"),
    Way("nothing said, two turns", True, earlier=""),
)
"""The last flag wins, wherever it stands (Qwen3 report, section 4.3)."""


def messages_of(way: Way, problem: Problem, before: Problem) -> Messages:
    """The turns that ask `problem` in this way; `before` is asked and answered in the earlier turn."""
    turns = [] if way.system is None else [{"role": "system", "content": way.system}]
    if way.earlier is not None:
        turns.append({"role": "user", "content": _asked(before, way.earlier)})
        turns.append({"role": "assistant", "content": f"The answer is \\boxed{{{before.answer}}}."})
    return [*turns, {"role": "user", "content": _asked(problem, way.flag)}]


def ask_modes(base_url: str, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Ask every problem in every way, greedily.

    Returns one {problem, way, thinks, thought, followed} a reply: what was wanted, whether any thinking was
    generated, and whether that is what was wanted, with no thinking tag in the answer.
    """
    return asyncio.run(_ask_all(base_url, problems))


async def _ask_all(base_url: str, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    slots = asyncio.Semaphore(CONCURRENCY)
    async with AsyncClient(base_url, timeout=TIMEOUT_SECONDS) as client:
        form = await client.thinking_format()

        async def ask(way: Way, place: int) -> dict[str, Any]:
            problem = problems[place]
            async with slots:
                reply = await client.chat(
                    messages_of(way, problem, problems[place - 1]),
                    temperature=0,
                    max_tokens=TOKENS,
                    enable_thinking=way.enable_thinking,
                )
            thought = bool(reply.thinking.strip())
            followed = thought == way.thinks and not any(
                tag in reply.answer for tag in (form.open, form.close)
            )
            return {
                "problem": problem.id,
                "way": way.name,
                "thinks": way.thinks,
                "thought": thought,
                "followed": followed,
            }

        return await asyncio.gather(*(ask(way, place) for place in range(len(problems)) for way in WAYS))


def _asked(problem: Problem, flag: str) -> str:
    text = preset_of(problem.set, None).fill(problem.problem)
    return f"{text} {flag}" if flag else text
