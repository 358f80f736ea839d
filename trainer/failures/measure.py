"""Draw what is missing of the points' replies: one rollout backend, given each checkpoint's weights."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.problems import Problem, load
from serve.checkpoint import checkpoint_files, checkpoint_hash
from serve.formats import load_format
from trainer.checkpoints import load_model, load_tokenizer
from trainer.examples import Example
from trainer.failures.arms import START, Arms, Point
from trainer.failures.replies import Reply, graded_replies, save, stored
from trainer.recipe.failure import Failure
from trainer.recipe.model import Model
from trainer.recipe.rl import Rollouts
from trainer.recipe.stages import RLStage
from trainer.rollouts import open_backend
from trainer.rollouts.types import RolloutBackend, RolloutRequest, Sampling
from trainer.rows.conversation import plain_conversation, prompt_ids
from trainer.seeds import derive_seed


def held_out(settings: Failure) -> list[Problem]:
    """The problems that every checkpoint is asked."""
    return load(settings.problems, limit=settings.limit)


def measure(
    arms: Arms, points: Sequence[Point], settings: Failure, folder: Path, at_start: int
) -> dict[str, list[Reply]]:
    """Replies of every point, by its name, problem by problem; what `folder` has is not drawn again.

    at_start: replies to each problem of the start; of all others `settings.samples`. A checkpoint is asked
    everything anew where its weights or the settings are others than those in `folder`.
    """
    problems = held_out(settings)
    found: dict[str, list[Reply]] = {}
    backend: RolloutBackend | None = None
    try:
        for place, point in enumerate(points, start=1):
            samples = at_start if point.arm == START else settings.samples
            asked = _asked(arms, point, settings, samples)
            path = folder / "replies" / f"{point.name}.json"
            replies = stored(path, asked)
            if replies is None:
                print(f"measuring {point.name} ({place} of {len(points)})", file=sys.stderr, flush=True)
                backend = backend or open_backend(_rollouts(arms), arms.start, arms.recipe.seed)
                replies = _draw(arms, point, problems, samples, backend, place, folder)
                save(path, asked, replies)
            found[point.name] = replies
    finally:
        if backend is not None:
            backend.close()
    return found


def _draw(
    arms: Arms,
    point: Point,
    problems: Sequence[Problem],
    samples: int,
    backend: RolloutBackend,
    version: int,
    folder: Path,
) -> list[Reply]:
    policy = load_model(point.checkpoint, Model(path=point.checkpoint)).eval()
    start = load_model(arms.start, Model(path=arms.start)).eval()
    form = load_format(load_tokenizer(arms.start), arms.start)
    backend.sync(policy, version)
    folder.mkdir(parents=True, exist_ok=True)
    settings = _rollouts(arms)
    requests = []
    for problem in problems:
        ids = tuple(prompt_ids(form, plain_conversation(Example(problem), arms.thinks)))
        # The same random numbers for all checkpoints.
        seeds = [derive_seed("failures", problem.id, sample) for sample in range(samples)]
        requests += [
            RolloutRequest(ids, settings.max_tokens, seed, answer_tokens=settings.answer_tokens)
            for seed in seeds
        ]
    rollouts = backend.generate(requests, Sampling())
    return graded_replies(rollouts, problems, arms.thinks, form, policy, start, folder)


def _rollouts(arms: Arms) -> Rollouts:
    """How the first arm samples: backend and lengths."""
    first = next(stage for stage in arms.recipe.stages if isinstance(stage, RLStage))
    return first.rollouts


def _asked(arms: Arms, point: Point, settings: Failure, samples: int) -> dict[str, Any]:
    rollouts = _rollouts(arms)
    return {
        "problems": settings.problems,
        "limit": settings.limit,
        "samples": samples,
        "thinks": arms.thinks,
        "max_tokens": rollouts.max_tokens,
        "answer_tokens": rollouts.answer_tokens,
        "weights": checkpoint_hash(checkpoint_files(point.checkpoint)),
        "start": checkpoint_hash(checkpoint_files(arms.start)),
    }
