"""Read a recipe: a TOML file, then changes to it, then every check."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from trainer.recipe.errors import explain
from trainer.recipe.overrides import override
from trainer.recipe.recipe import Recipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: a TOML file with the members of `Recipe`.
        overrides: `key=value`, applied in their order; see `trainer.recipe.overrides`.

    Raises:
        ValueError: names every member that is missing, unknown or out of range, with its value and what it
            must be.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"recipe {str(path)!r} cannot be read ({error.strerror}); give a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe {str(path)!r} is not TOML ({error})") from error
    for change in overrides:
        override(data, change)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"{path}: " + "; ".join(explain(error, data))) from error
