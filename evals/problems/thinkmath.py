"""thinkmath: synthetic verifiable maths whose thinking is worth something even when it is cut.

Everything is worked modulo 10, so that a step is one lookup in the head and its result one digit. Six
families are chains of sequential steps: little is known of the end before the last step. Three are *anytime*
families: several machines of a few steps each, and a best-so-far that is a good answer before all have run.
Levels 1 to 5 count the steps. Each problem has a step-by-step trace written by program.

Train and test never share a problem: a problem's canonical form (its operations, without wording or names)
decides by hash which of the two it belongs to.
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from evals.problems.problem import Problem
from evals.problems.selector import Selector

Split = Literal["train", "test"]
LEVELS = (1, 2, 3, 4, 5)
STEPS = {1: (1, 1), 2: (2, 2), 3: (3, 4), 4: (5, 6), 5: (7, 8)}
"""Fewest and most steps of a chain, by level."""
RACES = {2: ((2, 1),), 3: ((2, 2),), 4: ((3, 2), (4, 2)), 5: ((3, 3), (5, 2), (4, 3))}
"""(machines, steps of each) of `highest` and `lowest`, by level."""
VOTES = {3: ((3, 1),), 4: ((3, 2),), 5: ((5, 2), (3, 3))}
"""(machines, steps of each) of `majority`, by level."""
DIVISORS = (4, 7, 9)
NAMES = ("Ada", "Ben", "Eva", "Ian", "Lea", "Max", "Mia", "Noa", "Sam", "Tom")
HELD_OUT = 500
"""Held-out problems where no limit is given."""
MOST_MISSED = 20_000
"""Problems drawn in vain, one after another, before a level counts as used up."""
TEST_SHARE = 8
"""One canonical problem in this many is held out."""

Step = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Item:
    """A problem with its canonical form and the thinking that solves it (lines without tags)."""

    problem: Problem
    canonical: str
    trace: str


@dataclass(frozen=True, slots=True)
class _Draft:
    text: str
    answer: int
    canonical: str
    trace: str
    chance: float


def split_of(canonical: str) -> Split:
    """The split a canonical problem belongs to, the same on every machine."""
    digest = hashlib.sha256(canonical.encode()).digest()
    return "test" if digest[0] % TEST_SHARE == 0 else "train"


def draw(rng: random.Random, split: Split, level: int, family: str | None = None) -> Item:
    """Draw one problem of `split`; the family is drawn by weight unless named.

    Raises:
        ValueError: the level is not 1-5, or the family has no problem at this level.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}; expected one of {LEVELS}")
    choices = families_at(level)
    if family is not None and family not in choices:
        raise ValueError(f"family is {family!r}; at level {level} expected one of {sorted(choices)}")
    name = family or rng.choices(list(choices), weights=list(choices.values()))[0]
    while True:
        draft = _FAMILIES[name](rng, level)
        if split_of(draft.canonical) == split:
            break
    identity = hashlib.sha256(draft.text.encode()).hexdigest()[:12]
    problem = Problem(
        id=f"thinkmath-{level}-{name}-{identity}",
        problem=draft.text,
        answer=str(draft.answer),
        level=level,
        subject=name,
        chance=draft.chance,
        set="thinkmath",
    )
    return Item(problem, draft.canonical, draft.trace)


def families_at(level: int) -> dict[str, float]:
    """The families that have problems at `level`, with the weight each is drawn by."""
    weights = dict.fromkeys(("chain", "variables", "expression", "story", "sequence", "remainder"), 1.0)
    if level in RACES:
        weights |= {"highest": 2.5, "lowest": 2.5}
    if level in VOTES:
        weights["majority"] = 2.5
    return weights


def stream(split: Split, seed: int) -> Iterator[Item]:
    """Endless problems of `split`, levels in turn, the same for the same seed."""
    rng = random.Random(f"thinkmath-{split}-{seed}")
    while True:
        for level in LEVELS:
            yield draw(rng, split, level)


def held_out(limit: int | None, seed: int = 0, selector: Selector | None = None) -> list[Problem]:
    """The first `limit` held-out problems that are selected, levels in turn, no two with the same text.

    limit None is those selected of the first HELD_OUT. Raises ValueError when no problem can be selected.
    """
    selector = selector or Selector("thinkmath")
    kinds = [(level, family) for level in selector.levels(LEVELS) for family in families_at(level)]
    if "id" in selector.filters and limit is not None:
        raise ValueError(
            "problems: thinkmath is endless, so a filter by id takes no limit; give one of the two"
        )
    if not selector.subjects({family for _, family in kinds}):
        families = {level: sorted(families_at(level)) for level in LEVELS}
        raise ValueError(f"problems: {selector} selects nothing; thinkmath has, by level, {families}")
    problems = itertools.islice(_distinct(seed), HELD_OUT if limit is None else None)
    selected = list(itertools.islice(filter(selector.matches, problems), limit))
    if not selected:
        hint = "check the id" if "id" in selector.filters else "give a limit to look on"
        raise ValueError(f"problems: {selector} selects none of the first {HELD_OUT}; {hint}")
    return selected


def _distinct(seed: int) -> Iterator[Problem]:
    """Held-out problems, levels in turn, each text once. Raises ValueError when a level has no more."""
    seen: set[str] = set()
    missed = 0
    for item in stream("test", seed):
        wanted = LEVELS[len(seen) % len(LEVELS)]
        if item.problem.level == wanted and item.problem.id not in seen:
            seen.add(item.problem.id)
            missed = 0
            yield item.problem
        elif (missed := missed + 1) > MOST_MISSED:
            raise ValueError(
                f"limit: after {len(seen)} problems thinkmath has none of level {wanted} left; "
                "give a smaller limit, or select other levels"
            )


def _apply(value: int, step: Step) -> int:
    sign, operand = step
    result = {"+": value + operand, "-": value - operand, "*": value * operand}[sign]
    return result % 10


def _steps(rng: random.Random, count: int) -> list[Step]:
    # Multipliers coprime to 10 keep every digit equally likely at the end, so a constant guess is worth 1/10.
    signs = rng.choices("+-*", k=count)
    return [(sign, rng.choice((3, 7, 9)) if sign == "*" else rng.randint(1, 9)) for sign in signs]


def _work(start: int, steps: list[Step]) -> tuple[int, list[str]]:
    """The value after `steps`, and one equation a step."""
    value, equations = start, []
    for sign, operand in steps:
        result = _apply(value, (sign, operand))
        equations.append(f"{value}{sign}{operand}={result}")
        value = result
    return value, equations


def _notation(start: int, steps: list[Step]) -> str:
    return f"{start}" + "".join(f"{sign}{operand}" for sign, operand in steps)


def _digit_problem(rng: random.Random, level: int) -> tuple[int, list[Step], int, list[str], str]:
    """A start and steps with their value and equations; the canonical form is shared by all wordings."""
    start, steps = rng.randint(0, 9), _steps(rng, rng.randint(*STEPS[level]))
    value, equations = _work(start, steps)
    return start, steps, value, equations, f"digit {_notation(start, steps)}"


def _chain(rng: random.Random, level: int) -> _Draft:
    start, steps, value, equations, canonical = _digit_problem(rng, level)
    listed = ", ".join(f"{sign}{operand}" for sign, operand in steps)
    text = f"Modulo 10, start with {start} and do {listed}. Where do you end?"
    return _Draft(text, value, canonical, "\n".join(equations), 0.1)


def _variables(rng: random.Random, level: int) -> _Draft:
    start, steps, value, equations, canonical = _digit_problem(rng, level)
    names = rng.sample("abcdefghkmnpqrstuvwxyz", len(steps) + 1)
    definitions = [f"{names[0]}={start}"]
    definitions += [
        f"{new}={old}{sign}{n}" for old, new, (sign, n) in zip(names, names[1:], steps, strict=False)
    ]
    text = f"Modulo 10, {', '.join(definitions)}. What is {names[-1]}?"
    lines = [
        definitions[0],
        *(f"{name}={equation}" for name, equation in zip(names[1:], equations, strict=True)),
    ]
    return _Draft(text, value, canonical, "\n".join(lines), 0.1)


def _expression(rng: random.Random, level: int) -> _Draft:
    start, steps, value, _, canonical = _digit_problem(rng, level)
    expression, running, equations = str(start), start, []
    for index, step in enumerate(steps):
        sign, operand = step
        result = _apply(running, step)
        if index == 0 and sign != "-" and rng.random() < 0.5:
            expression, equation = f"{operand}{sign}{running}", f"{operand}{sign}{running}={result}"
        else:
            inner = expression if index == 0 else f"({expression})"
            expression, equation = f"{inner}{sign}{operand}", f"{running}{sign}{operand}={result}"
        equations.append(equation)
        running = result
    return _Draft(f"Modulo 10, compute {expression}.", value, canonical, "\n".join(equations), 0.1)


def _story(rng: random.Random, level: int) -> _Draft:
    start, steps, value, equations, canonical = _digit_problem(rng, level)
    verbs = {"+": "adds", "-": "takes away", "*": "multiplies by"}
    told = ", then ".join(f"{verbs[sign]} {operand}" for sign, operand in steps)
    text = f"{rng.choice(NAMES)} has a one-digit counter at {start}, {told}. What does it show, modulo 10?"
    return _Draft(text, value, canonical, "\n".join(equations), 0.1)


def _sequence(rng: random.Random, level: int) -> _Draft:
    count = rng.randint(*STEPS[level])
    terms, equations = [rng.randint(0, 9), rng.randint(0, 9)], []
    canonical = f"sequence {terms} {count}"
    text = (
        f"A sequence starts {terms[0]}, {terms[1]}; each next term is the sum of the two before, modulo 10. "
        f"What is term {count + 2}?"
    )
    for index in range(3, count + 3):
        terms.append((terms[-2] + terms[-1]) % 10)
        equations.append(f"t{index}={terms[-3]}+{terms[-2]}={terms[-1]}")
    return _Draft(text, terms[-1], canonical, "\n".join(equations), 0.1)


def _remainder(rng: random.Random, level: int) -> _Draft:
    divisor, count = rng.choice(DIVISORS), rng.randint(*STEPS[level])
    digits = [rng.randint(1, 9)] + [rng.randint(0, 9) for _ in range(count)]
    rest, equations = digits[0], []
    for digit in digits[1:]:
        dividend = f"{rest}{digit}"
        rest = int(dividend) % divisor
        equations.append(f"{dividend}%{divisor}={rest}")
    number = "".join(map(str, digits))
    text = f"What is the remainder of {number} divided by {divisor}?"
    return _Draft(text, rest, f"remainder {number} {divisor}", "\n".join(equations), 1 / divisor)


def _machines(
    rng: random.Random, shapes: tuple[tuple[int, int], ...]
) -> tuple[str, list[tuple[int, str]], int]:
    """A listing of machines, each one's value and equations, and how many there are."""
    count, length = rng.choice(shapes)
    listing, runs = [], []
    for number in range(1, count + 1):
        start, steps = rng.randint(0, 9), _steps(rng, length)
        value, equations = _work(start, steps)
        listing.append(f"({number}) {start} " + " ".join(f"{sign}{operand}" for sign, operand in steps))
        runs.append((value, " ".join(equations)))
    return " ".join(listing), runs, count


def _race(rng: random.Random, level: int, goal: Literal["highest", "lowest"]) -> _Draft:
    listing, runs, count = _machines(rng, RACES[level])
    best, best_value, lines = 0, -1, []
    for number, (value, equations) in enumerate(runs, start=1):
        if best == 0 or (value > best_value if goal == "highest" else value < best_value):
            best, best_value = number, value
        lines.append(f"{number}: {equations} {goal} {best}:{best_value}")
    text = f"Modulo 10, which machine ends {goal}, the first if tied? {listing}"
    # P(the first machine wins) = P(no other beats it): by symmetry the same for both goals.
    chance = sum(((value + 1) / 10) ** (count - 1) for value in range(10)) / 10
    return _Draft(text, best, f"{goal} {listing}", "\n".join(lines), chance)


def _highest(rng: random.Random, level: int) -> _Draft:
    return _race(rng, level, "highest")


def _lowest(rng: random.Random, level: int) -> _Draft:
    return _race(rng, level, "lowest")


def _majority(rng: random.Random, level: int) -> _Draft:
    listing, runs, _ = _machines(rng, VOTES[level])
    high, low, lines = 0, 0, []
    for number, (value, equations) in enumerate(runs, start=1):
        high, low = high + (value >= 5), low + (value < 5)
        lines.append(f"{number}: {equations} high {high} low {low}")
    text = f"Modulo 10, do most machines end at 5 or more? 1 for yes, 0 for no. {listing}"
    return _Draft(text, int(high > low), f"majority {listing}", "\n".join(lines), 0.5)


_FAMILIES: dict[str, Callable[[random.Random, int], _Draft]] = {
    "chain": _chain,
    "variables": _variables,
    "expression": _expression,
    "story": _story,
    "sequence": _sequence,
    "remainder": _remainder,
    "highest": _highest,
    "lowest": _lowest,
    "majority": _majority,
}
