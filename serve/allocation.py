"""Which requests think less, and how far, so that replies take no more work than allowed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """A ceiling for the requests of a family; their mean work in seconds, and their accuracy under it."""

    ceiling: int | None
    work: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Share:
    """A family of requests: its share of all, and what may be done with it, no ceiling last."""

    share: float
    options: Sequence[Option]


@dataclass(frozen=True, slots=True)
class Rule:
    """What the requests of a family get: `ceiling`, but a share `lowered` of them `lower`."""

    ceiling: int | None
    lower: int | None = None
    lowered: float = 0.0

    @property
    def least(self) -> int | None:
        """The least ceiling that a request may get."""
        return self.lower if self.lowered else self.ceiling


def allocate(families: Mapping[str | None, Share], allowed: float) -> dict[str | None, Rule]:
    """A rule for each family, such that the mean work is `allowed`, or the least there is.

    Always the family and ceiling that lose least accuracy for each second saved, so that no other rules of
    the same work lose less: a ceiling between two others is passed over where it is worse than the one for
    some requests and the other for the rest, as where half of a thought is worth little. For the last of
    these steps some requests are enough; the others are left as they were.
    """
    chosen = {name: family.options[-1] for name, family in families.items()}
    rules = {name: Rule(option.ceiling) for name, option in chosen.items()}
    excess = sum(families[name].share * option.work for name, option in chosen.items()) - allowed
    while excess > 0:
        moves = [
            ((chosen[name].accuracy - option.accuracy) / (chosen[name].work - option.work), name, option)
            for name, family in families.items()
            for option in family.options
            if option.work < chosen[name].work
        ]
        if not moves:
            break
        _, name, option = min(moves, key=lambda move: (move[0], move[2].work))
        saved = families[name].share * (chosen[name].work - option.work)
        if saved > excess:
            rules[name] = Rule(chosen[name].ceiling, option.ceiling, excess / saved)
        else:
            rules[name] = Rule(option.ceiling)
        chosen[name] = option
        excess -= saved
    return rules
