"""Read a recipe: a TOML file, then changes to it, then every check."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve import DEFAULT_MODEL, DEFAULT_MODEL_NAME
from trainer.recipe.errors import explain
from trainer.recipe.overrides import override
from trainer.recipe.recipe import Recipe

RECIPES = Path(__file__).parents[1] / "recipes"
"""The recipes that come with the package."""


def find_recipe(path: Path) -> Path:
    """The file of a recipe: `path`, or of the shipped ones that which it names, as `tiny` or `methods/grpo`.

    `trainer/recipes/tiny.toml` is found where the package is installed, too, if there is no such file here.
    """
    if path.is_file():
        return path
    name = path.as_posix().removeprefix("trainer/recipes/").removesuffix(".toml")
    return RECIPES / f"{name}.toml" if name in shipped_names() else path


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: a TOML file with the members of `Recipe`, or the name of a shipped one; see `find_recipe`.
        overrides: `key=value`, applied in their order; see `trainer.recipe.overrides`.

    Raises:
        ValueError: names every member that is missing, unknown or out of range, with its value and what it
            must be.
    """
    try:
        data = tomllib.loads(find_recipe(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"recipe {str(path)!r} cannot be read ({error.strerror}); give a TOML file, or one of "
            f"{', '.join(shipped_names())}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe {str(path)!r} is not TOML ({error})") from error
    for change in overrides:
        override(data, change)
    try:
        return Recipe.model_validate(_with_shipped_model(data))
    except ValidationError as error:
        raise ValueError(f"{path}: " + "; ".join(explain(error, data))) from error


def shipped_names() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.toml"))


def _with_shipped_model(value: Any) -> Any:
    """`value` with the folder of the shipped model wherever a checkpoint is named as it is served."""
    if isinstance(value, dict):
        return {name: _with_shipped_model(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_with_shipped_model(member) for member in value]
    return str(DEFAULT_MODEL) if value == DEFAULT_MODEL_NAME else value
