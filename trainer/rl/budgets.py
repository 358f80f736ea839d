"""A thinking budget for each group of rollouts, so that advantages compare replies under equal budgets."""

import random

from trainer.recipe.rl import Budget


def draw_budget(settings: Budget, rng: random.Random, progress: float) -> int | None:
    """The budget of one thinking group, in thinking tokens; None lets it think freely.

    progress: share of the stage that is done, in [0, 1]; with a curriculum the lower end falls with it.
    """
    if settings.mode == "off" or rng.random() >= settings.share:
        return None
    low = settings.low
    if settings.mode == "curriculum":
        low = settings.high - round((settings.high - settings.low) * progress)
    return rng.randint(low, settings.high)
