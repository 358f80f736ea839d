"""What makes two runs less comparable than their curves look, in words."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

Described = tuple[str, Mapping[str, Any], tuple[int, int]]
"""A run's name, manifest, and fewest and most samples of a problem and budget."""

_SETTINGS = {
    "mode": "were drawn in different modes",
    "prompts": "were asked with different prompts",
    "dialect": "were asked through different interfaces",
    "max_model_len": "had contexts of different length",
}


def warnings(runs: Sequence[Described]) -> list[str]:
    """One sentence for each difference that is not the one being measured; empty when there is none."""
    found = []
    for first, second in combinations(runs, 2):
        found += _problems(first, second)
        found += _settings(first, second)
        found += _samples(first, second)
    return found


def _problems(first: Described, second: Described) -> list[str]:
    (a, one, _), (b, two, _) = first, second
    left, right = one["plan"]["problems"], two["plan"]["problems"]
    shared = set(left.values()) & set(right.values())
    found = []
    changed = [name for name in left if name in right and left[name] != right[name]]
    if changed:
        found.append(
            f"{len(changed)} problems have the same id in {a} and {b} but another text or answer "
            f"({changed[0]!r} is the first); they are left out"
        )
    if len(shared) < max(len(left), len(right)):
        found.append(
            f"{a} has {len(left)} problems and {b} {len(right)}; "
            f"they are compared on the {len(shared)} in common"
        )
    budgets = (one["plan"]["budgets"], two["plan"]["budgets"])
    lone = [str(x) for x in [*budgets[0], *budgets[1]] if (x in budgets[0]) != (x in budgets[1])]
    if lone:
        found.append(f"only one of {a} and {b} was measured at budget {', '.join(lone)}; those are left out")
    return found


def _settings(first: Described, second: Described) -> list[str]:
    (a, one, _), (b, two, _) = first, second
    left, right = one["settings"], two["settings"]
    found = [
        f"{a} and {b} {words}: {left.get(name)} and {right.get(name)}"
        for name, words in _SETTINGS.items()
        if left.get(name) != right.get(name)
    ]
    for name in ("thinking", "no_thinking", "max_tokens"):
        values = left["sampling"].get(name), right["sampling"].get(name)
        if values[0] != values[1]:
            found.append(f"{a} and {b} were sampled with different {name}: {values[0]} and {values[1]}")
    stops = [(s.get("thinking_format") or {}).get("stop_ids") for s in (left, right)]
    if stops[0] != stops[1]:
        texts = [(s.get("thinking_format") or {}).get("stop_text") for s in (left, right)]
        found.append(
            f"{a} and {b} end thinking with different early-stop texts: {texts[0]!r} and {texts[1]!r}"
        )
    return found


def _samples(first: Described, second: Described) -> list[str]:
    (a, one, left), (b, two, right) = first, second
    found = []
    asked = one["plan"]["samples"], two["plan"]["samples"]
    if asked[0] != asked[1]:
        found.append(f"{a} has {asked[0]} samples a problem and {b} {asked[1]}; their noise differs")
    for name, (fewest, most) in ((a, left), (b, right)):
        if fewest != most:
            found.append(f"{name} has between {fewest} and {most} samples of a problem and budget")
    return found
