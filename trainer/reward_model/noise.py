"""Label noise: pairs whose preference is turned around."""

from collections.abc import Sequence

from trainer.preference.pairs import Pair
from trainer.rl.seeds import derive_rng


def turn_around(pairs: Sequence[Pair], share: float, seed: int) -> list[Pair]:
    """The pairs, of which `share` (rounded to whole pairs), drawn at random, prefer the other reply."""
    turned = set(derive_rng(seed, "noise").sample(range(len(pairs)), round(share * len(pairs))))
    return [
        Pair(pair.rejected, pair.chosen, pair.weight) if place in turned else pair
        for place, pair in enumerate(pairs)
    ]
