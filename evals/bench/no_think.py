"""Count how often the soft switch `/no_think` is obeyed: replies without thinking, ended, boxed.

    python -m evals.bench.no_think --limit 500

The flag stands at the end of the user turn, then in the system turn, then in the user turn after a system
turn that says `/think` (the last flag wins). The status is 1 if any reply thinks.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from clients import AsyncClient, Reply
from evals.grading import Verdict, grade
from evals.problems import Problem, load
from serve.bench.results import Figure, write_result
from serve.launch import start_server

CONCURRENCY = 16
PLACES = ("user turn", "system turn", "user turn, after /think")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if no reply thinks, 1 if one does."""
    parser = argparse.ArgumentParser(prog="python -m evals.bench.no_think", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--problems", default="thinkmath")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--base-url", help="a running server; without it one is started")
    parser.add_argument("--model", help="checkpoint to serve, without --base-url")
    parser.add_argument("--out", type=Path, help="folder for no_think.json")
    options = parser.parse_args(argv)
    problems = load(options.problems, limit=options.limit)
    print(f"{'/no_think in':>24}  {'without thinking':>16}  {'ended, boxed':>12}  {'right':>7}")
    obeyed = True
    rows = []
    with nullcontext() if options.base_url else start_server(options.model) as server:
        base_url = options.base_url if server is None else server.base_url
        for place in PLACES:
            replies = asyncio.run(_ask(base_url, problems, place))
            silent = sum(not reply.thinking.strip() for reply in replies)
            graded = [grade(p.answer, reply.answer) for p, reply in zip(problems, replies, strict=True)]
            ended = sum(
                reply.finish_reason == "stop" and mark.verdict is not Verdict.NO_ANSWER
                for reply, mark in zip(replies, graded, strict=True)
            )
            right = sum(mark.correct for mark in graded)
            total = len(problems)
            print(f"{place:>24}  {silent:>12}/{total}  {ended:>8}/{total}  {right / total:7.3f}", flush=True)
            rows.append({"place": place, "n": total, "silent": silent, "ended": ended, "right": right})
            obeyed = obeyed and silent == total
    if options.out is not None:
        figures = [
            Figure(f"obeyed, /no_think in {row['place']}", f"{row['silent']} of {row['n']}") for row in rows
        ]
        write_result(options.out, "no_think", {"rows": rows}, figures=figures)
    return 0 if obeyed else 1


async def _ask(base_url: str, problems: Sequence[Problem], place: str) -> list[Reply]:
    slots = asyncio.Semaphore(CONCURRENCY)
    async with AsyncClient(base_url) as client:

        async def ask(problem: Problem) -> Reply:
            async with slots:
                return await client.chat(_messages(problem, place), temperature=0)

        return await asyncio.gather(*map(ask, problems))


def _messages(problem: Problem, place: str) -> list[dict[str, str]]:
    flagged = {"role": "user", "content": f"{problem.problem} /no_think"}
    if place == "user turn":
        return [flagged]
    if place == "system turn":
        return [{"role": "system", "content": "/no_think"}, {"role": "user", "content": problem.problem}]
    return [{"role": "system", "content": "/think"}, flagged]


if __name__ == "__main__":
    sys.exit(main())
