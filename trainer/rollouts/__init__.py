"""Rollouts: replies sampled from the policy, by the engine that serves it, budgets cut to the token."""

from pathlib import Path

from trainer.recipe.rl import Rollouts
from trainer.rollouts.types import RolloutBackend


def open_backend(settings: Rollouts, checkpoint: Path, seed: int) -> RolloutBackend:
    """The backend a recipe names, with the checkpoint's weights as version 0."""
    # Each brings libraries that the others do without.
    if settings.backend == "engine":
        from trainer.rollouts.engine import EngineBackend

        return EngineBackend(
            checkpoint,
            dtype=settings.dtype,
            kv_cache_gib=settings.kv_cache_gib,
            tolerance=settings.sync_tolerance,
            seed=seed,
        )
    from trainer.rollouts.transformers_backend import TransformersBackend

    return TransformersBackend(checkpoint, dtype=settings.dtype, tolerance=settings.sync_tolerance)
