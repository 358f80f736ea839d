"""Recipes: what a training run does, typed, from a TOML file and `--set` overrides."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelShape(_Section):
    """A Qwen3 architecture, in the words of `Qwen3Config`."""

    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    rope_theta: float = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)


class Mix(_Section):
    """What rows an SFT stage is made of: shares of the modes, and how they are switched."""

    think: float = Field(ge=0)
    no_think: float = Field(default=0.0, ge=0)
    """Share of rows without thinking; above 0, every think row has a no_think branch too."""
    no_think_levels: list[float] = Field(default=[1, 1, 1, 1, 1], min_length=5, max_length=5)
    """How often rows without thinking are of levels 1 to 5."""
    cuts: int = Field(default=0, ge=0)
    """Branches of a think row whose thinking is cut."""
    answer_weight: float = Field(default=1.0, gt=0)
    """Loss weight of the boxed answer after a cut or without thinking; every other trained token weighs 1."""
    flags: bool = False
    """Draw `/think` and `/no_think` flags, system turns and earlier turns; else the problem stands alone."""
    multi_turn: float = Field(default=0.0, ge=0, le=1)
    """Share of flagged rows that have an earlier turn."""


class Optimizer(_Section):
    """Muon on the matrices of the layers, AdamW on embeddings and norms; warm-up, constant, linear decay."""

    muon_lr: float = Field(gt=0)
    adamw_lr: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup: float = Field(default=0.02, ge=0, lt=1)
    """Share of the stage's tokens over which the learning rate rises."""
    decay: float = Field(default=0.3, ge=0, le=1)
    """Share of the stage's tokens, at its end, over which the learning rate falls to zero."""


class Stage(_Section):
    """One SFT stage. Lengths are in tokens, padding included."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    tokens: int = Field(gt=0)
    batch_tokens: int = Field(gt=0)
    mix: Mix
    optimizer: Optimizer


class Recipe(_Section):
    """A whole run: a model from nothing, then its stages in order."""

    seed: int = 0
    threads: int = Field(default=2, gt=0)
    chunk_batches: int = Field(default=16, gt=0)
    """Rows are drawn and sorted by length this many batches at a time."""
    checkpoint_chunks: int = Field(default=10, gt=0)
    """Chunks between checkpoints."""
    validation_chunks: int = Field(default=30, gt=0)
    """Chunks between validations."""
    validation_problems: int = Field(default=200, gt=0)
    model: ModelShape
    stages: list[Stage] = Field(min_length=1)


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
    names = [stage.name for stage in recipe.stages]
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: stages.name: {names!r}; expected each name once")
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
