"""Rollouts: replies sampled from the policy, by the engine that serves it, budgets cut to the token."""

from pathlib import Path

import torch

from trainer.recipe.rl import Rollouts
from trainer.rollouts.types import RolloutBackend


def open_backend(settings: Rollouts, checkpoint: Path, seed: int) -> RolloutBackend:
    """The backend a recipe names, with the checkpoint's weights as version 0."""
    from trainer.rollouts.transformers_backend import TransformersBackend

    return TransformersBackend(
        checkpoint, dtype=getattr(torch, settings.dtype), tolerance=settings.sync_tolerance
    )
