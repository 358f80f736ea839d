"""Problem sets of the evaluator as sources: their training splits, never what models are measured on."""

from collections.abc import Sequence
from pathlib import Path

from evals.problems import Problem, Selector, load, parse_selectors
from evals.problems.catalogue import SETS, canonical_name
from evals.problems.jsonl import read_jsonl
from trainer.examples import Example

TRAINING_SETS = ("math_train", "gsm8k_train")
"""Of the sets known by name, those made to train on."""
TRAINING_SPLIT = {"math": "math_train", "math500": "math_train", "gsm8k": "gsm8k_train"}
"""Evaluation sets whose publishers have a training split too."""


class ProblemSet:
    """A set's problems in its order; they have answers and no replies."""

    size: int | None

    def __init__(self, problems: Sequence[Problem]) -> None:
        self._problems = problems
        self.size = len(problems)

    def at(self, index: int) -> Example:
        return Example(self._problems[index])


def open_problem_set(name: str, path: Path | None, split: str) -> ProblemSet:
    """A set by name, with filters as in `math_train[level=4-5]`, or from a JSONL file.

    name: `math` and `gsm8k` are their training splits. path: a file of problems; with a name, a copy of that
    set. Raises ValueError for an evaluation set or split.
    """
    if split != "train":
        raise ValueError(f"split: {split!r} is not trained on; give 'train'")
    specs = []
    for selector in parse_selectors(name) if name else ():
        if selector.name in ("math", "gsm8k"):
            selector = Selector(TRAINING_SPLIT[selector.name], selector.filters)
        refuse_evaluation(Path(selector.name).stem)
        specs.append(str(selector))
    if path is None:
        return ProblemSet(load(specs))
    if not path.is_file():
        raise ValueError(f"path: there is no file {str(path)!r}; give a JSONL file of problems")
    refuse_evaluation(path.stem)
    return ProblemSet(read_jsonl(path, canonical_name(path.stem)))


def refuse_evaluation(name: str) -> None:
    """Raises ValueError if models are measured on the set of that name, or on the one a file of it holds."""
    name = canonical_name(name)
    if name == "thinkmath":
        raise ValueError("name: 'thinkmath' is the held-out problems; give kind = \"thinkmath\"")
    if name not in SETS or name in TRAINING_SETS:
        return
    training = TRAINING_SPLIT.get(name)
    instead = f"its training split is name = {training!r}" if training else "it has no training split"
    raise ValueError(
        f"name: {name!r} is an evaluation set, and a model trained on it can no longer be measured on it; "
        f"{instead}; sets to train on are {', '.join(TRAINING_SETS)} or a file of your own under another name"
    )


def refuse_evaluation_hub(hub: str, split: str) -> None:
    """Raises ValueError if the split of a hub's data set is one that models are measured on."""
    entries = {name: entry for name, entry in SETS.items() if entry.hub.lower() == hub.lower()}
    training = {entry.split for name, entry in entries.items() if name in TRAINING_SETS}
    parts = {part.partition("[")[0].strip() for part in split.split("+")}
    for name, entry in entries.items():
        if name not in TRAINING_SETS and not parts <= training:
            splits = " or ".join(map(repr, training))
            raise ValueError(
                f"name: {hub}, split {entry.split!r}, is the evaluation set {name!r}, and a model trained on "
                "it can no longer be measured on it; "
                + (f"give split = {splits}" if training else "it has no training split")
            )
