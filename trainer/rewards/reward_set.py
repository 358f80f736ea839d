"""The reward of a stage: a weighted sum of terms."""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from serve.formats import CLOSE, OPEN
from trainer.recipe.rl import RewardTerm
from trainer.rewards.correctness import Correctness
from trainer.rewards.custom import load_custom
from trainer.rewards.format import Format, ModeFollowing
from trainer.rewards.language import Language
from trainer.rewards.length import Length, Overlong
from trainer.rewards.repetition import Repetition
from trainer.rewards.terms import Tags, Term
from trainer.rewards.types import Completion, Scored
from trainer.rewards.weights import check_order, weight_at

_TERMS = {
    "correctness": Correctness,
    "format": Format,
    "language": Language,
    "length": Length,
    "mode_following": ModeFollowing,
    "overlong": Overlong,
    "repetition": Repetition,
}


class RewardSet:
    """A stage's terms with their weights."""

    def __init__(
        self, settings: Mapping[str, RewardTerm], terms: Mapping[str, Term], correctness: Correctness
    ):
        self._settings = settings
        self._terms = terms
        self._correctness = correctness

    def weights(self, step: int) -> dict[str, float]:
        """The weight of each term at a step."""
        return {name: weight_at(setting, step) for name, setting in self._settings.items()}

    def score(self, groups: Sequence[Sequence[Completion]], step: int) -> list[list[Scored]]:
        """Rewards of the completions of each prompt group, in their order. Steps count from 0."""
        right = iter(self._correctness.verify([completion for group in groups for completion in group]))
        weights = self.weights(step)
        return [self._score(group, [next(right) for _ in group], weights) for group in groups]

    def _score(
        self, group: Sequence[Completion], right: Sequence[bool], weights: Mapping[str, float]
    ) -> list[Scored]:
        values = {name: term.score(group, right) for name, term in self._terms.items()} if group else {}
        scored = []
        for index in range(len(group)):
            parts = {name: value[index] for name, value in values.items()}
            scored.append(Scored(sum(weights[name] * part for name, part in parts.items()), parts))
        return scored


def build_rewards(terms: Sequence[RewardTerm], tags: tuple[str, str] = (OPEN, CLOSE)) -> RewardSet:
    """The recipe's rewards. tags: what opens and closes thinking in this model's text.

    Raises ValueError for an unknown term or option, a term given twice, none for correctness, and weights
    with which a wrong reply could beat a right one (`weights.check_order` has the rule).
    """
    settings: dict[str, RewardTerm] = {}
    for term in terms:
        if term.name in settings:
            raise ValueError(f"rewards: {term.name} is given twice; give it once")
        settings[term.name] = term
    if "correctness" not in settings:
        raise ValueError(f"rewards: correctness is not among {', '.join(settings)}; add that term")
    built = {name: _build(setting, Tags(*tags)) for name, setting in settings.items()}
    check_order(settings, built)
    correctness = built["correctness"]
    assert isinstance(correctness, Correctness)
    return RewardSet(settings, built, correctness)


def _build(setting: RewardTerm, tags: Tags) -> Term:
    if ":" in setting.name:
        return load_custom(setting.name, setting.options)
    if setting.name not in _TERMS:
        raise ValueError(
            f"rewards: {setting.name!r} is no term; give one of {', '.join(_TERMS)}, or module:function"
        )
    defaults = {"tags": tags} if setting.name == "format" else {}
    try:
        return _TERMS[setting.name](**{**defaults, **setting.options})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError(f"rewards: options of {setting.name}: {wrong}") from error
