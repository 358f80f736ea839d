"""Arms of a study: the leaves of a recipe's tree of stages, each trained once for every seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.recipe import Recipe
from trainer.recipe.average import Average


@dataclass(frozen=True, slots=True)
class Study:
    """A recipe with its arms spelled out.

    arms: the stages of each, one a seed; the first arm is the baseline.
    start: the stage, or the checkpoint's path, that all arms begin with; None is the recipe's model.
    """

    recipe: Recipe
    arms: dict[str, list[str]]
    start: str | None


def spell_out(recipe: Recipe, seeds: Sequence[int]) -> Study:
    """Replace each stage that no other begins with by one for every seed, `<name>_seed<seed>`.

    Stages that leave no policy stay as they are. Raises ValueError unless the recipe has two arms or more,
    which begin with the same checkpoint, and two seeds or more are given, each once.
    """
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: {list(seeds)}; give two or more, each once: one says nothing of others")
    starts = {stage.name: recipe.start_of(stage) for stage in recipe.stages}
    averages = [stage for stage in recipe.stages if isinstance(stage, Average)]
    used = {*starts.values(), *(place for stage in averages for place in stage.checkpoints)}
    # A reward model is what arms are rewarded by: one for all of them.
    leaves = [stage for stage in recipe.stages if stage.leaves_policy and stage.name not in used]
    for stage in averages:
        if stage in leaves:
            raise ValueError(
                f"stages.{stage.name}: an average cannot be an arm, as nothing in it is drawn from a seed; "
                "leave it out"
            )
    begun = {starts[stage.name] for stage in leaves}
    if len(leaves) < 2 or len(begun) > 1:
        told = ", ".join(f"{stage.name} from {starts[stage.name]}" for stage in leaves)
        raise ValueError(
            f"stages: the arms of this recipe would be {told}; give two stages or more that no other begins "
            "with, with the same `start`"
        )
    trunk = [stage for stage in recipe.stages if stage not in leaves]
    arms = {leaf.name: [f"{leaf.name}_seed{seed}" for seed in seeds] for leaf in leaves}
    start = begun.pop()
    spelled = [
        leaf.model_copy(update={"name": f"{leaf.name}_seed{seed}", "seed": seed, "start": start})
        for seed in seeds
        for leaf in leaves
    ]
    return Study(recipe.model_copy(update={"stages": trunk + spelled, "ablation": None}), arms, start)
