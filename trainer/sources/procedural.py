"""reasoning-gym's procedural tasks as endless sources, where our grader tells right answers from wrong."""

import dataclasses
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from evals.problems import Problem
from trainer.examples import Example

CHUNK = 1000
"""Items made with one seed. Some tasks prepare all items of a seed at once."""
GRADABLE = (
    "ab",
    "aiw",
    "arc_1d",
    "base_conversion",
    "basic_arithmetic",
    "bf",
    "binary_alternation",
    "binary_matrix",
    "calendar_arithmetic",
    "chain_sum",
    "circuit_logic",
    "color_cube_rotation",
    "complex_arithmetic",
    "count_bits",
    "count_primes",
    "course_schedule",
    "decimal_chain_sum",
    "dice",
    "family_relationships",
    "fraction_simplification",
    "gcd",
    "gsm_symbolic",
    "largest_island",
    "lcm",
    "leg_counting",
    "letter_counting",
    "mahjong_puzzle",
    "needle_haystack",
    "number_sequence",
    "path_star",
    "products",
    "rectangle_count",
    "rotate_matrix",
    "rotten_oranges",
    "self_reference",
    "simple_equations",
    "simple_geometry",
    "spiral_matrix",
    "string_manipulation",
    "string_splitting",
    "syllogism",
    "zebra_puzzles",
)
"""Tasks that `measure_tasks` found gradable in reasoning-gym 0.1.25: 12 items, some 60 answers, of each.

Others are left out for one of these reasons. Several answers are right and only the task's own scoring knows
them: countdown, jugs, n_queens and most games and puzzles. Right answers are refused, as the task takes
roundings (coin_flip, decimal_arithmetic, number_format) or we read them otherwise (spell_backward,
time_intervals). Wrong ones are accepted: word and number lists, where order does not count for our grader.
Items depend on the process: isomorphic_strings, ransom_note.
"""


def all_tasks() -> list[str]:
    """The names of all of reasoning-gym's tasks."""
    from reasoning_gym.factory import DATASETS

    return sorted(DATASETS)


class Procedural:
    """Items of a task; item i is a function of (seed, i) and the task's options.

    A question is asked as the task puts it; answers are graded by our grader, not by the task's scoring.
    """

    size: int | None = None

    def __init__(self, task: str, options: Mapping[str, Any], seed: int, known: bool = True) -> None:
        """known: refuse tasks that are not in GRADABLE.

        Raises ValueError: no such task, one we cannot grade, or an option the task does not have or take.
        """
        from reasoning_gym.factory import DATASETS

        if task not in DATASETS or (known and task not in GRADABLE):
            why = "is a task our grader cannot grade" if task in DATASETS else "is no task of reasoning-gym"
            raise ValueError(f"name: {task!r} {why}; give one of {', '.join(GRADABLE)}")
        self._task = task
        self._seed = seed
        self._options = dict(options)
        self._make, self._config = DATASETS[task]
        members = [field.name for field in dataclasses.fields(self._config)]
        for option in options:
            if option not in members or option in ("seed", "size"):
                taken = ", ".join(member for member in members if member not in ("seed", "size"))
                raise ValueError(f"options: {option!r} is not one of {task}'s; give {taken}")
        self._chunk = lru_cache(maxsize=4)(self._make_chunk)
        try:
            self._chunk(0)
        except (AssertionError, TypeError) as error:
            raise ValueError(f"options: {task} refuses {self._options}: {error}") from error

    def entry(self, index: int) -> tuple[Any, dict[str, Any]]:
        """The data set that made item `index`, and the item as reasoning-gym has it."""
        chunk, offset = divmod(index, CHUNK)
        dataset = self._chunk(chunk)
        return dataset, dataset[offset]

    def at(self, index: int) -> Example:
        entry = self.entry(index)[1]
        identity = hashlib.sha256(entry["question"].encode()).hexdigest()[:12]
        return Example(
            Problem(
                id=f"reasoning_gym-{self._task}-{identity}",
                problem=entry["question"],
                answer=entry["answer"],
                subject=self._task,
                set="reasoning_gym",
            )
        )

    def _make_chunk(self, chunk: int) -> Any:
        # Items of neighbouring seeds overlap, so seeds are drawn from the whole range.
        digest = hashlib.sha256(f"{self._task}-{self._seed}-{chunk}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big") >> 1
        return self._make(self._config(**self._options, seed=seed, size=CHUNK))
