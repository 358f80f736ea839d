"""Read a recipe: a TOML file, then `--set` overrides, then every check."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.recipe.recipe import Recipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: a TOML file with the members of `Recipe`.
        overrides: `key=value` with dotted keys and TOML values; a stage is addressed by its name, as in
            `stages.fusion.tokens=100000`.

    Raises:
        ValueError: names every field that is missing, unknown or out of range, with its value.
    """
    with path.open("rb") as file:
        data = tomllib.load(file)
    for override in overrides:
        _override(data, override)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']} (got {item['input']!r})"
            for item in error.errors()
        ]
        raise ValueError(f"{path}: " + "; ".join(problems)) from error
    return recipe


def _override(data: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise ValueError(f"--set {override!r}: expected key=value, as in stages.fusion.tokens=100000")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"--set {override!r}: {value!r} is not a TOML value ({error})") from error
    *parents, last = key.split(".")
    place: Any = data
    for parent in parents:
        place = _step_into(place, parent, override)
    place[last] = parsed


def _step_into(place: Any, name: str, override: str) -> Any:
    if isinstance(place, list):
        for element in place:
            if element.get("name") == name:
                return element
        known = [element.get("name") for element in place]
        raise ValueError(f"--set {override!r}: no stage {name!r}; expected one of {known}")
    if not isinstance(place.get(name), dict | list):
        raise ValueError(f"--set {override!r}: {name!r} is not a section; expected one of {sorted(place)}")
    return place[name]
