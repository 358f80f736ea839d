"""The methods of a comparison, and whether they compare like with like: start, problems, rollouts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.wording import listed
from serve.checkpoint import checkpoint_files, checkpoint_hash
from trainer.checkpoints import local_folder
from trainer.compare.account import allowance
from trainer.recipe import Recipe
from trainer.recipe.average import Average
from trainer.recipe.recipe import Ablation
from trainer.recipe.stages import AnyStage
from trainer.seeds import derive_seed

START = "start"
"""Under which name the checkpoint that all methods begin with is measured."""
EQUAL = 0.05
"""Rollout tokens that differ by this share or less are the same."""


@dataclass(frozen=True, slots=True)
class Method:
    """A recipe to be trained with several seeds."""

    name: str
    recipe: Recipe

    @property
    def result(self) -> AnyStage:
        """The last stage that leaves a policy, which is what is measured."""
        return next(stage for stage in reversed(self.recipe.stages) if stage.leaves_policy)

    def with_seed(self, seed: int) -> Recipe:
        """The recipe of one run, which measures nothing by itself.

        The first stages of all methods draw the same problems, the second ones too, whatever their names.
        """
        stages = [
            stage
            if isinstance(stage, Average)
            else stage.model_copy(update={"seed": derive_seed(seed, "compare", place)})
            for place, stage in enumerate(self.recipe.stages)
        ]
        return self.recipe.model_copy(update={"seed": seed, "stages": stages, "ablation": None})


def methods_of(recipes: Mapping[Path, Recipe]) -> list[Method]:
    """Recipes by their files' names.

    Raises ValueError below two, for two of one name, for one without a policy, and for stages with seeds of
    their own.
    """
    if len(recipes) < 2:
        raise ValueError(f"recipes: {len(recipes)} given; give two or more to compare")
    methods = [Method(path.stem, recipe) for path, recipe in recipes.items()]
    names = [method.name for method in methods]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"recipes: two files are named {twice[0]!r}; copy one under another name")
    if START in names:
        raise ValueError(f"recipes: {START!r} names what all begin with; copy the file under another name")
    for method in methods:
        if not any(stage.leaves_policy for stage in method.recipe.stages):
            raise ValueError(f"{method.name}: no stage leaves a model that replies; add one that does")
        for stage in method.recipe.stages:
            if stage.seed is not None:
                raise ValueError(
                    f"{method.name}: stages.{stage.name}.seed: {stage.seed} is wrong because every seed of "
                    "--seeds trains the whole recipe; leave it out"
                )
    return methods


def common_settings(methods: Sequence[Method]) -> Ablation | None:
    """What the recipes say of measuring, but for which stages; None where none of them says anything.

    Raises ValueError where they differ.
    """
    settings = [
        method.recipe.ablation.model_copy(update={"stages": None})
        for method in methods
        if method.recipe.ablation is not None
    ]
    if any(one != settings[0] for one in settings):
        raise ValueError(
            "ablation: the recipes measure differently; give all the same section, or leave it out of all "
            "and give --problems, --limit, --budgets and --max-tokens"
        )
    return settings[0] if settings else None


def check_start(methods: Sequence[Method]) -> None:
    """Raise ValueError unless all methods begin with the same weights, tokenizer and thinking tags."""
    hashes: dict[str, str] = {}
    for method in methods:
        recipe = method.recipe
        if recipe.model.path is None:
            raise ValueError(
                f"{method.name}: model.shape begins from nothing, with other weights for every seed; give "
                "model.path, the checkpoint that all methods begin with"
            )
        stages = {stage.name for stage in recipe.stages}
        starts = {f"{method.name}: model.path": recipe.model.path} | {
            f"{method.name}: stages.{stage.name}": Path(start)
            for stage in recipe.stages
            for start in _starts(stage)
            if start not in stages
        }
        for field, path in starts.items():
            hashes[f"{field} {str(path)!r}"] = _hash(field, path)
    first, expected = next(iter(hashes.items()))
    for field, found in hashes.items():
        if found != expected:
            raise ValueError(
                f"{field} holds other weights than {first}; methods are compared from one start: give the "
                "same to all"
            )
    thinking = {method.name: method.recipe.model.thinking for method in methods}
    if len(set(map(repr, thinking.values()))) > 1:
        raise ValueError(f"model.thinking: differs among {listed(list(thinking))}; give all the same")


def _starts(stage: AnyStage) -> list[str]:
    """What a stage says it begins with."""
    if isinstance(stage, Average):
        return stage.checkpoints
    return [] if stage.start is None else [stage.start]


def _hash(field: str, path: Path) -> str:
    try:
        return checkpoint_hash(checkpoint_files(local_folder(path)))
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def unevenness(methods: Sequence[Method]) -> list[str]:
    """In what the plans of the methods differ that are to be alike: problems, and rollout tokens at most."""
    told = []
    problems = {method.name: _problems(method.recipe) for method in methods}
    first, *others = problems
    different = [name for name in others if problems[name] != problems[first]]
    if different:
        told.append(f"{listed(different)} {_do(different)} not train on the problems of {first} (data)")
    most = {method.name: allowance(method.recipe) for method in methods}
    if not alike(list(most.values())):
        each = listed([f"{tokens:,} of {name}" for name, tokens in most.items()])
        told.append(f"rollout tokens differ: at most {each} (replies times max_tokens)")
    return told


def alike(tokens: Sequence[float]) -> bool:
    """Whether numbers of tokens are the same, up to EQUAL."""
    return max(tokens) <= (1 + EQUAL) * min(tokens)


def _problems(recipe: Recipe) -> set[str]:
    stages = [stage for stage in recipe.stages if not isinstance(stage, Average)]
    return {source.model_dump_json() for stage in stages for source in stage.data}


def _do(names: Sequence[str]) -> str:
    return "does" if len(names) == 1 else "do"
