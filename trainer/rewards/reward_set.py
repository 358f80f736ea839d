"""The reward of a stage: a weighted sum of terms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve.formats import CLOSE, OPEN
from trainer.completion import Completion
from trainer.recipe.rl import RewardTerm
from trainer.recipe.section import Section
from trainer.recipe.stages import RLStage
from trainer.rewards.correctness import Correctness
from trainer.rewards.custom import load_custom
from trainer.rewards.equivalence import Equivalence
from trainer.rewards.format import Format, ModeFollowing
from trainer.rewards.judge import Judge
from trainer.rewards.language import Language
from trainer.rewards.learned import Learned
from trainer.rewards.length import Length, Overlong
from trainer.rewards.repetition import Repetition
from trainer.rewards.terms import Noted, StepTerm, Tags, Term, Verifier
from trainer.rewards.types import Scored
from trainer.rewards.weights import check_order, weight_at

_TERMS: dict[str, type[Section]] = {
    "correctness": Correctness,
    "equivalence": Equivalence,
    "format": Format,
    "judge": Judge,
    "language": Language,
    "learned": Learned,
    "length": Length,
    "mode_following": ModeFollowing,
    "overlong": Overlong,
    "repetition": Repetition,
}


VERDICTS = ("correctness", "equivalence")
"""Terms that say whether a reply is right; a stage has one of them."""


class RewardSet:
    """A stage's terms with their weights."""

    def __init__(
        self, settings: Mapping[str, RewardTerm], terms: Mapping[str, Term | StepTerm], verifier: Verifier
    ):
        self._settings = settings
        self._terms = terms
        self._verifier = verifier

    def weights(self, step: int) -> dict[str, float]:
        """The weight of each term at a step."""
        return {name: weight_at(setting, step) for name, setting in self._settings.items()}

    def score(self, groups: Sequence[Sequence[Completion]], step: int) -> list[list[Scored]]:
        """Rewards of the completions of each prompt group, in their order. Steps count from 0."""
        verdicts = iter(self._verifier.verify([completion for group in groups for completion in group]))
        right = [[next(verdicts) for _ in group] for group in groups]
        values = {name: _values(term, groups, right) for name, term in self._terms.items()}
        weights = self.weights(step)
        return [
            [
                _sum({name: value[place][index] for name, value in values.items()}, weights, one)
                for index, one in enumerate(its)
            ]
            for place, its in enumerate(right)
        ]


def _values(
    term: Term | StepTerm, groups: Sequence[Sequence[Completion]], right: Sequence[Sequence[bool]]
) -> list[list[Noted]]:
    if isinstance(term, StepTerm):
        return term.score_step(groups)
    return [
        [Noted(value, {}) for value in term.score(group, its)] if group else []
        for group, its in zip(groups, right, strict=True)
    ]


def _sum(values: Mapping[str, Noted], weights: Mapping[str, float], right: bool) -> Scored:
    parts = {name: noted.value for name, noted in values.items()}
    total = sum(weights[name] * part for name, part in parts.items())
    notes = {name: note for noted in values.values() for name, note in noted.notes.items()}
    return Scored(total, {**parts, "correctness": float(right)}, notes)


def stage_rewards(stage: RLStage, tags: tuple[str, str], run: Path) -> RewardSet:
    """A stage's rewards. tags: what opens and closes thinking in its model's text; run: the run's folder.

    Raises ValueError as `build_rewards`, and for a judge that compares replies of groups of one.
    """
    for term in stage.rewards:
        if term.name == "judge" and term.options.get("form") == "compare" and stage.group_size == 1:
            raise ValueError(
                "rewards: the judge's form 'compare' is wrong because group_size 1 leaves nothing to compare "
                "with; give form 'score'"
            )
    return build_rewards(stage.rewards, tags, unverified=stage.rewards_unverified, run=run)


def build_rewards(
    terms: Sequence[RewardTerm],
    tags: tuple[str, str] = (OPEN, CLOSE),
    *,
    unverified: bool = False,
    run: Path | None = None,
) -> RewardSet:
    """The recipe's rewards. tags: what opens and closes thinking in this model's text. unverified: allow
    weights with which a wrong reply could beat a right one. run: the folder of the run, whose reward models
    `learned` may name.

    Raises ValueError for an unknown term or option, a term given twice, and unless `unverified` for none that
    says what is right, and for such weights (`weights.check_order` has the rule).
    """
    settings: dict[str, RewardTerm] = {}
    for term in terms:
        if term.name in settings:
            raise ValueError(f"rewards: {term.name} is given twice; give it once")
        settings[term.name] = term
    verdicts = [name for name in VERDICTS if name in settings]
    if len(verdicts) > 1:
        raise ValueError(f"rewards: {' and '.join(verdicts)} both say what is right; give one of them")
    if not verdicts and not unverified:
        raise ValueError(
            f"rewards: neither {' nor '.join(VERDICTS)} is among {', '.join(settings)}, so nothing keeps a "
            "wrong reply from beating a right one; add one of them, or set rewards_unverified = true"
        )
    context: dict[str, dict[str, Any]] = {"format": {"tags": Tags(*tags)}, "learned": {"run": run}}
    built = {name: _build(setting, context.get(name, {})) for name, setting in settings.items()}
    if not unverified:
        check_order(settings, built, verdicts[0])
    verifier = built[verdicts[0]] if verdicts else Correctness()
    assert isinstance(verifier, Verifier)
    return RewardSet(settings, built, verifier)


def _build(setting: RewardTerm, context: Mapping[str, Any]) -> Term | StepTerm:
    """A term from its options, and from what it must know of the stage."""
    if ":" in setting.name:
        return load_custom(setting.name, setting.options)
    if setting.name not in _TERMS:
        raise ValueError(
            f"rewards: {setting.name!r} is no term; give one of {', '.join(_TERMS)}, or module:function"
        )
    try:
        term = _TERMS[setting.name](**{**context, **setting.options})
    except ValidationError as error:
        wrong = "; ".join(_sentence(one) for one in error.errors())
        raise ValueError(f"rewards: options of {setting.name}: {wrong}") from error
    assert isinstance(term, Term | StepTerm)
    return term


def _sentence(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
