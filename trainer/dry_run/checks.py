"""Look at everything a run will open, and collect what is wrong with it."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from transformers import PretrainedConfig

from evals.problems import load
from serve.formats import ThinkingFormat, load_format
from trainer.checkpoints import load_tokenizer, new_config, new_tokenizer, thinking_tokenizer
from trainer.dry_run.checkpoints import look_at_average, look_at_place, read_config
from trainer.dry_run.memory import Memory, ModelMemory, kv_bytes_per_token, rollouts_of
from trainer.dry_run.reward_models import look_at_reward_models
from trainer.preference.plan import pair_steps
from trainer.preference.sample import pair_rewards
from trainer.preference.source import given_pairs, problems_asked
from trainer.recipe import Recipe
from trainer.recipe.average import Average
from trainer.recipe.preference import PairStage
from trainer.recipe.stages import AnyStage, ColdStart, Distill, Fusion, RLStage, SFTStage, TrainedStage
from trainer.rewards import stage_rewards
from trainer.rows.conversation import plain_conversation, prompt_ids
from trainer.rows.draw import RowSource
from trainer.run import differences
from trainer.sft.plan import Plan
from trainer.sources import ExampleStream, open_sources

SAMPLE = 64
"""Examples whose tokens are counted."""
SECTIONS = {"fusion": ".rejection", "dpo": ".pairs", "reward_model": ".pairs"}
"""Of stages that have their rollouts there."""
Result = TypeVar("Result")


@dataclass
class StageFindings:
    """What is known of a stage before it runs; None where it could not be found out.

    status: `to run`, `begun` or `finished` in the run's folder. size: examples in its data, None if endless.
    prompt_tokens: of a prompt, mean over the first examples. steps: optimizer steps, at most where pairs are
    sampled. tokens: trained by SFT and on given pairs; sampled at most by others. kv_tokens: what the
    engine's cache holds.
    """

    stage: AnyStage
    start: str
    status: str
    opened: bool = False
    size: int | None = None
    prompt_tokens: float | None = None
    row_tokens: float | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    steps: int | None = None
    tokens: int | None = None
    memory: Memory | None = None
    kv_tokens: int | None = None


@dataclass
class Findings:
    """All that was found. mistakes: what must be put right before the run can do what it is asked."""

    recipe: Recipe
    out: Path
    mistakes: list[str] = field(default_factory=list)
    config: PretrainedConfig | None = None
    memory: ModelMemory | None = None
    form: ThinkingFormat | None = None
    stages: list[StageFindings] = field(default_factory=list)

    def attempt(self, what: str, look: Callable[[], Result]) -> Result | None:
        """What `look` returns, or None and a mistake."""
        try:
            return look()
        except (ValueError, OSError, ModuleNotFoundError) as error:
            message = str(error).strip().splitlines()[0]
            self.mistakes.append(f"{what}: {message}" if what else message)
            return None


def check(recipe: Recipe, out: Path, only: Sequence[str] = ()) -> Findings:
    """Look at the model, the tokenizer, the data and the settings of every stage to be run."""
    found = Findings(recipe, out)
    changed = differences(out, recipe)
    if changed:
        found.mistakes.append(
            f"--out: {out} holds a run whose {', '.join(changed)} differ; give the same values, or another"
        )
    _look_at_model(found)
    for tracker in recipe.logging.trackers:
        if importlib.util.find_spec(tracker) is None:
            found.mistakes.append(f"logging.trackers: the Python package {tracker!r} is not installed")
    ablation = recipe.ablation
    if ablation is not None and not only:
        found.attempt("ablation.problems", lambda: load(ablation.problems, limit=ablation.limit))
    for stage in recipe.stages:
        if only and stage.name not in only:
            continue
        stage_found = _look_at_start(found, stage, only)
        found.stages.append(stage_found)
        if isinstance(stage, Average):
            continue
        if isinstance(stage, RLStage):
            look_at_reward_models(found, stage, only)
        if found.form is not None:
            _look_at_data(found, stage_found, stage, found.form)
        if found.config is not None and found.memory is not None:
            _look_at_needs(found, stage_found, stage, found.config, found.memory)
    return found


def _look_at_model(found: Findings) -> None:
    model = found.recipe.model

    def from_shape() -> tuple[PretrainedConfig, ThinkingFormat]:
        assert model.shape is not None
        taken_from = model.tokenizer
        tokenizer = new_tokenizer(model.shape) if taken_from is None else load_tokenizer(taken_from)
        return new_config(model.shape, tokenizer), load_format(tokenizer, taken_from)

    if model.path is None:
        made = found.attempt("model.shape", from_shape)
        if made is not None:
            found.config, found.form = made
    else:
        path = model.path
        found.config = found.attempt("model.path", lambda: read_config(path))
        if found.config is not None:
            found.form = found.attempt("model.path", lambda: _format(found.recipe))
        if found.form is not None and found.config is not None and model.thinking is not None:
            found.config.vocab_size = max(found.config.vocab_size, len(found.form.tokenizer))
    if found.config is not None:
        config = found.config
        found.memory = found.attempt("model", lambda: ModelMemory(config, model))


def _attempt_config(found: Findings, field: str, path: Path) -> PretrainedConfig | None:
    return found.attempt(field, lambda: read_config(path))


def _format(recipe: Recipe) -> ThinkingFormat:
    path = recipe.model.path
    assert path is not None
    if recipe.model.thinking is not None:
        return thinking_tokenizer(path, recipe.model)[1]
    tokenizer = load_tokenizer(path)
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(f"{str(path)!r} has no chat template; give model.thinking, or a chat model")
    return load_format(tokenizer, path if path.is_dir() else None)


def _look_at_start(found: Findings, stage: AnyStage, only: Sequence[str]) -> StageFindings:
    start = found.recipe.start_of(stage)
    folder = found.out / stage.name
    status = "finished" if (folder / "checkpoint").exists() else "begun" if folder.exists() else "to run"
    if isinstance(stage, Average):
        look_at_average(found, stage, only)
    elif start is not None:
        look_at_place(found, start, f"stages.{stage.name}.start", only)
    if isinstance(stage, Fusion) and stage.rejection is not None and stage.rejection.sampled_from is not None:
        place = stage.rejection.sampled_from
        look_at_place(found, place, f"stages.{stage.name}.rejection.sampled_from", only)
    return StageFindings(stage, start or "the model", status)


def _look_at_data(
    found: Findings, stage: StageFindings, settings: TrainedStage, form: ThinkingFormat
) -> None:
    seed = found.recipe.seed_of(settings)
    path = f"stages.{settings.name}"
    if isinstance(settings, PairStage) and settings.pairs.path is not None:
        found.attempt("stages", lambda: _look_at_pairs(stage, settings, form))
        return
    answered = isinstance(settings, PairStage | RLStage) and settings.graded
    examples = found.attempt(path, lambda: open_sources(settings.data, seed, answered=answered))
    if examples is None:
        return
    stage.opened, stage.size = True, examples.size
    stage.prompt_tokens = found.attempt(path, lambda: _prompt_tokens(examples, form))
    if isinstance(settings, ColdStart | Fusion):
        found.attempt(
            "stages", lambda: _look_at_rows(stage, settings, RowSource(settings, seed, form, examples))
        )
    elif isinstance(settings, RLStage):
        found.attempt(f"{path}.rewards", lambda: stage_rewards(settings, (form.open, form.close), found.out))
        prompts, replies = settings.prompts_per_step * settings.group_size, settings.rollouts.max_tokens
        updates = settings.objective.epochs * settings.objective.minibatches
        stage.steps, stage.tokens = settings.steps * updates, settings.steps * prompts * replies
    elif isinstance(settings, PairStage):
        found.attempt(f"{path}.pairs", lambda: pair_rewards(settings.pairs, form))
        found.attempt("stages", lambda: _look_at_sampling(stage, settings, examples))
    elif settings.on_policy is not None:
        stage.steps = settings.on_policy.steps
        stage.tokens = stage.steps * settings.on_policy.prompts_per_step * settings.rollouts.max_tokens


def _prompt_tokens(examples: ExampleStream, form: ThinkingFormat) -> float:
    count = min(SAMPLE, examples.size or SAMPLE)
    prompts = [prompt_ids(form, plain_conversation(examples.at(index))) for index in range(count)]
    return sum(map(len, prompts)) / count


def _look_at_rows(stage: StageFindings, settings: ColdStart | Fusion, rows: RowSource) -> None:
    plan = Plan(rows, settings)
    sampled = [rows.at(index) for index in range(SAMPLE)]
    lengths = [len(row.ids) for row in sampled if not isinstance(row, str)]
    for row in sampled:
        if isinstance(row, str):
            stage.left_out[row] = stage.left_out.get(row, 0) + 1
    stage.row_tokens = sum(lengths) / max(1, len(lengths))
    stage.steps = plan.steps
    stage.tokens = plan.steps * settings.batch_tokens


def _look_at_pairs(stage: StageFindings, settings: PairStage, form: ThinkingFormat) -> None:
    pairs = given_pairs(settings, form)
    stage.opened, stage.size = True, len(pairs.training)
    stage.left_out = dict(pairs.left_out)
    rows = [row for pair in pairs.training for row in (pair.chosen, pair.rejected)]
    stage.row_tokens = sum(len(row.ids) for row in rows) / len(rows)
    stage.prompt_tokens = sum(row.prompt for row in rows) / len(rows)
    stage.steps = pair_steps(settings, len(pairs.training))
    stage.tokens = round(stage.steps * settings.batch_pairs * 2 * stage.row_tokens)


def _look_at_sampling(stage: StageFindings, settings: PairStage, examples: ExampleStream) -> None:
    pairs = settings.pairs
    assert pairs.problems is not None
    assert pairs.rollouts is not None
    asked = problems_asked(settings, examples)
    # As many steps as with every problem giving all its pairs.
    stage.steps = pair_steps(settings, pairs.problems * pairs.per_problem)
    stage.tokens = asked * pairs.samples * pairs.rollouts.max_tokens


def _look_at_needs(
    found: Findings,
    stage: StageFindings,
    settings: TrainedStage,
    config: PretrainedConfig,
    memory: ModelMemory,
) -> None:
    path = f"stages.{settings.name}"
    other = None
    if isinstance(settings, Distill):
        other = _attempt_config(found, f"{path}.teacher", settings.teacher)
    elif isinstance(settings, RLStage) and settings.critic and settings.critic.path:
        other = _attempt_config(found, f"{path}.critic.path", settings.critic.path)
    stage.memory = found.attempt(path, lambda: memory.of(settings, other))
    context = config.max_position_embeddings
    measured = isinstance(settings, SFTStage) or (
        isinstance(settings, PairStage) and rollouts_of(settings) is None
    )
    if isinstance(settings, SFTStage | PairStage) and measured and settings.max_length > context:
        found.mistakes.append(
            f"{path}.max_length: {settings.max_length} is more than the model's context of {context} tokens; "
            "give less"
        )
    rollouts = rollouts_of(settings)
    if rollouts is None:
        return
    path += SECTIONS.get(settings.kind, "") + ".rollouts"
    longest = rollouts.max_tokens + round(stage.prompt_tokens or 0)
    if longest > context:
        found.mistakes.append(
            f"{path}.max_tokens: {rollouts.max_tokens} and a prompt are more than the model's "
            f"context of {context} tokens; give less"
        )
    if rollouts.answer_tokens >= rollouts.max_tokens:
        found.mistakes.append(
            f"{path}.answer_tokens: {rollouts.answer_tokens} leaves no thinking of max_tokens "
            f"{rollouts.max_tokens}; give less"
        )
    if rollouts.backend == "servers" and not rollouts.urls:
        found.mistakes.append(f"{path}.urls: none is given; give those of running servers")
    if rollouts.backend == "engine":
        if importlib.util.find_spec("vllm") is None:
            found.mistakes.append(
                f"{path}.backend: 'engine' needs the Python package 'vllm'; install it, or give "
                "'transformers'"
            )
        itemsize = 4 if rollouts.dtype == "float32" else 2
        stage.kv_tokens = int(rollouts.kv_cache_gib * 2**30 / kv_bytes_per_token(config, itemsize))
        if stage.kv_tokens < longest:
            found.mistakes.append(
                f"{path}.kv_cache_gib: {rollouts.kv_cache_gib} holds {stage.kv_tokens} tokens, less "
                f"than one reply of {longest}; give more"
            )
