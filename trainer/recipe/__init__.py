"""Recipes: what a training run does, typed, from a TOML file and `--set` overrides."""

from trainer.recipe.load import load_recipe
from trainer.recipe.recipe import Recipe

__all__ = ["Recipe", "load_recipe"]
