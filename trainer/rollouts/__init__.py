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
    if settings.backend == "servers":
        from trainer.rollouts.servers import ServersBackend

        assert settings.weights_folder is not None
        return ServersBackend(
            settings.urls, checkpoint, settings.weights_folder, tolerance=settings.sync_tolerance
        )
    from trainer.rollouts.transformers_backend import TransformersBackend

    return TransformersBackend(checkpoint, dtype=settings.dtype, tolerance=settings.sync_tolerance)
