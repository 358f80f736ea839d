"""`thinkdial eval sweep --dry-run`: what a sweep would ask and cost, in words. Asks for no completion."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx

from clients import AsyncClient
from clients.wire import api_root, auth_headers
from evals.problems import Problem, load
from evals.problems.prompts import prompt
from evals.records import Kind
from evals.store import MANIFEST, iter_records
from evals.sweep.endpoint import Endpoint, describe
from evals.sweep.estimate import CHARACTERS_A_TOKEN, Amount, Lengths, forecast, stored_lengths, total
from evals.sweep.run import dialect_of
from evals.sweep.settings import SweepSettings

MEASURED_PROBLEMS = 100
TEMPLATE_TOKENS = 8
"""Of a chat template around a prompt, about."""


def dry_run(
    settings: SweepSettings,
    base_url: str | None,
    model: str | None = None,
    api_key: str | None = None,
    given: Lengths | None = None,
) -> str:
    """What `evals.sweep.run.run_sweep` would ask, as text for a terminal.

    base_url: a server to ask for its model, context and tokenizer; None estimates without one.
    given: lengths to expect where the run directory holds no traces.
    Raises ValueError for settings that do not fit the server, httpx.HTTPError when nobody answers.
    """
    return asyncio.run(_dry_run(settings, base_url, model, api_key, given))


async def _dry_run(
    settings: SweepSettings,
    base_url: str | None,
    model: str | None,
    api_key: str | None,
    given: Lengths | None,
) -> str:
    problems = load(settings.problem_sets, limit=settings.limit)
    endpoint = None
    if base_url is not None:
        async with AsyncClient(base_url, api_key=api_key) as client:
            endpoint = await describe(base_url, client, model, api_key)
        dialect_of(settings, endpoint, base_url)
    sizes, counted = await prompt_sizes(settings, problems, endpoint, base_url, api_key)
    lengths = stored_lengths(settings.out) or given
    planned = forecast(settings, problems, sizes, endpoint, lengths)
    who = f"{endpoint.model} at {base_url}" if endpoint else "no server was asked"
    lines = [
        f"{len(problems)} problems x {settings.samples} samples at budgets "
        f"{','.join(map(str, settings.budgets))}, {settings.mode}; {who}",
        *_table(planned.most, planned.expected),
        f"prompts: {counted}",
        f"expected: {lengths.source}"
        if lengths
        else "expected: unknown; give --expect-thinking and --expect-answer",
    ]
    if settings.mode == "forked":
        other = replace(settings, mode="direct", crosscheck=0.0)
        lines.append(
            _against_direct(planned.expected, forecast(other, problems, sizes, endpoint, lengths).expected)
        )
    if (settings.out / MANIFEST).is_file():
        stored = sum(1 for _ in iter_records(settings.out))
        lines.append(f"already stored: {stored} replies, which are not asked again")
    if settings.prices is not None:
        lines.append(
            f"cost: {_cost(settings, planned.most)} at most, {_cost(settings, planned.expected)} expected"
        )
    return "\n".join(line for line in lines if line)


def _table(most: Mapping[Kind, Amount], expected: Mapping[Kind, Amount] | None) -> list[str]:
    rows = [("", "replies", "prompt tokens", "generated tokens")]
    rows += [_row(kind, bound, expected[kind] if expected else None) for kind, bound in most.items()]
    rows.append(_row("all", total(most), total(expected) if expected else None))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _row(name: str, most: Amount, expected: Amount | None) -> tuple[str, str, str, str]:
    if expected is None:
        return name, _cell(most.replies), _cell(most.prompt), _cell(most.generated)
    return (
        name,
        _cell(most.replies, expected.replies),
        _cell(most.prompt, expected.prompt),
        _cell(most.generated, expected.generated),
    )


def _cell(most: float | None, expected: float | None = None) -> str:
    bound = "no limit known" if most is None else f"<= {most:,.0f}"
    return bound if expected is None else f"{bound} (about {expected:,.0f})"


def _against_direct(forked: Mapping[Kind, Amount] | None, direct: Mapping[Kind, Amount] | None) -> str:
    if forked is None or direct is None:
        return ""
    one, other = total(forked).generated, total(direct).generated
    if not one or not other:
        return ""
    return f"direct mode would generate about {other:,.0f} tokens; forked generates {one / other:.2f} of that"


def _cost(settings: SweepSettings, amounts: Mapping[Kind, Amount] | None) -> str:
    if amounts is None or settings.prices is None:
        return "unknown"
    everything = total(amounts)
    if everything.generated is None:
        return "unknown"
    cost = settings.prices.cost(everything.prompt, everything.generated)
    return f"{cost['total']:.2f} {cost['currency']}"


async def prompt_sizes(
    settings: SweepSettings,
    problems: Sequence[Problem],
    endpoint: Endpoint | None,
    base_url: str | None,
    api_key: str | None,
) -> tuple[list[float], str]:
    """Tokens of each prompt, and how they are known.

    Counted by the server's /tokenize for up to a hundred problems and scaled by characters for the rest, else
    by characters alone.
    """
    texts = [prompt(problem, settings.prompt) for problem in problems]
    step = max(1, -(-len(texts) // MEASURED_PROBLEMS))
    measured = texts[::step]
    counts = None
    if base_url is not None and endpoint is not None:
        counts = await _tokenize(base_url, endpoint.model, measured, api_key)
    if counts is None:
        sizes = [len(text) / CHARACTERS_A_TOKEN + TEMPLATE_TOKENS for text in texts]
        return sizes, f"estimated: {CHARACTERS_A_TOKEN} characters a token"
    if step == 1:
        return [float(count) for count in counts], "counted by the server"
    scale = sum(counts) / sum(map(len, measured))
    return [
        len(text) * scale for text in texts
    ], f"counted by the server for {len(measured)}, scaled for the rest"


async def _tokenize(base_url: str, model: str, texts: Sequence[str], api_key: str | None) -> list[int] | None:
    """Tokens of each text as a user's turn; None from servers without the route."""
    headers = auth_headers(api_key)
    async with httpx.AsyncClient(base_url=api_root(base_url), headers=headers, timeout=60) as http:

        async def count(text: str) -> int | None:
            turns = [{"role": "user", "content": text}]
            response = await http.post("/tokenize", json={"model": model, "messages": turns})
            counted: Any = response.json().get("count") if response.is_success else None
            return counted if isinstance(counted, int) else None

        first = await count(texts[0])
        if first is None:
            return None
        rest = await asyncio.gather(*map(count, texts[1:]))
        return None if None in rest else [first, *(n for n in rest if n is not None)]
