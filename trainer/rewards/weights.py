"""A term's weight at a step, and the rule that no wrong reply can beat a right one."""

import math
from collections.abc import Mapping

from trainer.recipe.rl import RewardTerm
from trainer.rewards.terms import Ranged

_ROUNDING = 1e-9


def weight_at(term: RewardTerm, step: int) -> float:
    """0 before from_step, then rising in equal parts to the term's weight, which it has from step
    from_step + ramp_steps on."""
    steps = step - term.from_step + 1
    return 0.0 if steps < 1 else term.weight * min(steps / (term.ramp_steps + 1), 1.0)


def check_order(
    settings: Mapping[str, RewardTerm], terms: Mapping[str, Ranged], verdict: str = "correctness"
) -> None:
    """Raise ValueError unless at every step a right reply's least total is at least a wrong one's greatest.

    The least and the greatest are sums over the terms, each at the worst end of its documented range,
    whatever the reply is like otherwise. So at each step the weight of the verdict (the term that says what
    is right) must be at least the sum over the other terms of what each can do for a wrong reply over a right
    one:

        max(weight * value of a wrong reply) - min(weight * value of a right one)

    With a positive weight w that is w for format, mode_following, language, overlong and repetition, and w/2
    for length (a wrong reply gets at most 0, a right one at least -0.5). Equality is allowed: such replies
    tie. Weights are linear in the step but where a term begins or is fully there; those steps are checked.
    """
    right = settings[verdict]
    if right.weight <= 0:
        raise ValueError(
            f"rewards: {verdict} has weight {right.weight}; give a positive one, or set rewards_unverified = "
            "true to train on the other rewards"
        )
    steps = {0}
    for setting in settings.values():
        steps |= {max(setting.from_step - 1, 0), setting.from_step, setting.from_step + setting.ramp_steps}
    needed = {step: _needed(step, settings, terms, verdict) for step in steps}
    step = max(steps, key=lambda step: (needed[step], -step))
    if needed[step] <= right.weight + _ROUNDING:
        return
    named = ", ".join(f"{name} {weight_at(setting, step):g}" for name, setting in settings.items())
    remedy = (
        f"give {verdict} a weight of at least {needed[step]:g}, or lower the others"
        if needed[step] < math.inf
        else f"let {verdict} count from step 0, or the others not before step {right.from_step}"
    )
    raise ValueError(
        f"rewards: with the weights of step {step} ({named}) a wrong reply can score more than a right one; "
        f"{remedy}; or set rewards_unverified = true to train on them all the same"
    )


def _needed(
    step: int, settings: Mapping[str, RewardTerm], terms: Mapping[str, Ranged], verdict: str
) -> float:
    """The weight that the verdict must have in the end for the order to hold at this step."""
    others = 0.0
    for name, term in terms.items():
        weight = weight_at(settings[name], step)
        if name != verdict:
            others += max(weight * term.wrong.low, weight * term.wrong.high)
            others -= min(weight * term.right.low, weight * term.right.high)
    share = weight_at(settings[verdict], step) / settings[verdict].weight
    return 0.0 if others == 0 else others / share if share else math.inf
