"""The RL loop on accelerate: sample, score, train, sync, measure; resumable at any step."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from serve.formats import ThinkingFormat, load_format
from trainer.checkpoints import load_model, load_tokenizer, save_checkpoint
from trainer.context import StageContext
from trainer.optimizers import build_optimizer, set_learning_rate
from trainer.processes import join_processes
from trainer.progress import Progress, trace_of
from trainer.recipe.stages import RLStage
from trainer.rewards import stage_rewards
from trainer.rl.batches import make_minibatches, make_rows, trained_tokens
from trainer.rl.collapse import CollapseError, CollapseMonitor
from trainer.rl.critic import open_critic
from trainer.rl.difficulty import update_shares
from trainer.rl.evaluation import choose_arms, held_out_problems, measure
from trainer.rl.groups import flight_from_json, flight_to_json
from trainer.rl.metrics import rollout_metrics
from trainer.rl.rollout_step import RolloutStep, StepRollouts
from trainer.rl.sampling import ProblemSampler
from trainer.rl.state import kept_folder, load_state, save_state
from trainer.rl.update import PolicyUpdate
from trainer.rollouts import open_backend
from trainer.rollouts.types import RolloutBackend
from trainer.seeds import derive_seed
from trainer.sources import open_sources


def run_stage(context: StageContext) -> None:
    """Run an RL stage from `context.start` to `context.checkpoint`, or go on where a killed run was.

    Raises:
        CollapseError: training collapsed; the stage has no result, and the message names the checkpoint that
            is left: the best one measured, or the last.
    """
    loop = RLLoop(context)
    try:
        loop.run()
    finally:
        loop.close()


class RLLoop:
    """One stage. Every process of `accelerate launch` has one, and all take the same decisions."""

    def __init__(self, context: StageContext) -> None:
        stage = context.stage
        assert isinstance(stage, RLStage)
        self._context, self._stage = context, stage
        join_processes()
        self._accelerator = Accelerator()
        self._tokenizer: PreTrainedTokenizerBase = load_tokenizer(context.start)
        self._form: ThinkingFormat = load_format(self._tokenizer, context.start)
        model = load_model(context.start, context.recipe.model)
        self._model, self._optimizer = self._accelerator.prepare(
            model, build_optimizer(model, stage.optimizer)
        )
        self._critic = None
        if stage.critic is not None:
            self._critic = open_critic(
                stage.critic,
                stage.optimizer,
                stage.objective,
                context.recipe.model,
                model,
                context.start,
                self._accelerator,
            )
        examples = open_sources(stage.data, context.seed, answered=stage.graded)
        self._sampler = ProblemSampler(examples, stage.sampling, context.seed)
        self._monitor = None if stage.collapse is None else CollapseMonitor(stage.collapse)
        self._rewards = stage_rewards(stage, (self._form.open, self._form.close), context.run)
        self._backend: RolloutBackend = open_backend(stage.rollouts, context.start, context.seed)
        self._rollouts = RolloutStep(
            stage,
            context.seed,
            examples,
            self._sampler,
            self._backend,
            self._rewards,
            self._form,
            self._accelerator,
        )
        self._update = PolicyUpdate(
            self._model,
            self._load_reference(),
            self._optimizer,
            self._accelerator,
            stage.objective,
            stage.optimizer,
            stage.rollouts.temperature,
            self._critic,
            kl_in_loss=stage.critic is None or not stage.critic.kl_in_reward,
        )
        self._arms = choose_arms(context.recipe, stage)
        self._problems = held_out_problems(context.recipe, stage) if stage.evaluate_every else []
        self._step = 0
        self._best: dict[str, Any] | None = None

    def run(self) -> None:
        """Train from the newest state to the last step, and leave the checkpoint."""
        for _ in self.steps():
            pass
        self._save_model(self._context.checkpoint)

    def steps(self) -> Iterator[int]:
        """Train from the newest state to the last step; yields the number of steps done after each."""
        self._resume()
        with Progress(self._context, self._stage.steps, self._step) as progress:
            try:
                if self._step == 0:
                    self._measure(progress)
                while self._step < self._stage.steps:
                    self._train_step(progress)
                    yield self._step
            except CollapseError as error:
                raise CollapseError(
                    f"{self._context.stage.name}: {error}. {self._leave_collapsed()}"
                ) from error

    def close(self) -> None:
        """End the rollout backend, and let go of the model."""
        self._backend.close()
        self._accelerator.free_memory()

    def _load_reference(self) -> PreTrainedModel | None:
        """The stage's first policy, from its checkpoint on disk: never from a model that is being trained."""
        if self._stage.objective.kl.coefficient == 0:
            return None
        plain = self._context.recipe.model.model_copy(update={"lora": None, "gradient_checkpointing": False})
        reference = load_model(self._context.start, plain).requires_grad_(False).eval()
        return reference.to(self._accelerator.device)

    def _train_step(self, progress: Progress) -> None:
        started = monotonic()
        sampled = self._rollouts.run(self._step)
        metrics = rollout_metrics(sampled.finished)
        if sampled.kept:
            metrics |= self._train(sampled)
        trained = monotonic()
        report = self._backend.sync(self._model, self._step + 1)
        synced = monotonic()
        self._step += 1
        metrics |= {
            "sync/probe_max": report.probe_max,
            "group/trained": float(len(sampled.kept)),
            "group/pending": float(len(self._rollouts.pending)),
            "rollout/rounds": float(sampled.rounds),
            "seconds/rollout": sampled.rollout_seconds,
            "seconds/reward": sampled.reward_seconds,
            "seconds/train": trained - started - sampled.rollout_seconds - sampled.reward_seconds,
            "seconds/sync": synced - trained,
        }
        progress.log(self._step, metrics, sampled.generated)
        every = self._stage.evaluate_every
        if every and (self._step % every == 0 or self._step == self._stage.steps):
            self._measure(progress)
            progress.traces(self._step, self._traces(sampled))
        if self._monitor is not None:
            self._monitor.check(self._step, metrics)
        kept = self._stage.keep_every
        if kept and self._step % kept == 0 and self._step < self._stage.steps:
            self._replace_checkpoint(kept_folder(self._context.folder, self._step))
        if self._step % self._stage.checkpoint_every == 0 or self._step == self._stage.steps:
            self._save_state()

    def _train(self, sampled: StepRollouts) -> dict[str, float]:
        seed, accelerator = self._context.seed, self._accelerator
        # Dropout, where a model has any, must be the same after a restart.
        torch.manual_seed(derive_seed(seed, "train", self._step, accelerator.process_index))
        scale = set_learning_rate(self._optimizer, self._step / self._stage.steps, self._stage.optimizer)
        policy_trains = True
        if self._critic is not None:
            assert self._stage.critic is not None
            policy_trains = self._step >= self._stage.critic.warmup_steps
            self._critic.set_learning_rate(self._step / self._stage.steps)
        objective = self._stage.objective
        rows = make_rows(sampled.kept, objective.advantage_std)
        minibatches = make_minibatches(
            rows,
            objective,
            self._stage.rollouts.max_tokens,
            self._stage.micro_batch_tokens,
            derive_seed(seed, "minibatches", self._step),
            accelerator.process_index,
            accelerator.num_processes,
            accelerator.device,
            critic=self._critic is not None,
        )
        metrics = self._update.run(minibatches, policy_trains)
        metrics["tokens/trained"] = float(trained_tokens(rows, objective, self._critic is not None))
        if self._critic is None:
            metrics |= update_shares(sampled.kept, objective.advantage_std)
        return metrics | {"learning_rate_scale": scale}

    def _measure(self, progress: Progress) -> None:
        """Log held-out accuracy, and keep the checkpoint if it is the best so far."""
        if not self._problems:
            return
        started = monotonic()
        metrics = measure(
            self._backend, self._problems, self._arms, self._stage.rollouts, self._form, self._accelerator
        )
        progress.log(self._step, {**metrics, "seconds/evaluate": monotonic() - started})
        score = sum(metrics[f"eval/{arm.name}"] for arm in self._arms) / len(self._arms)
        if self._best is None or score > self._best["score"]:
            self._best = {"score": score, "step": self._step}
            self._replace_checkpoint(self._context.folder / "best")

    def _traces(self, sampled: StepRollouts) -> list[dict[str, Any]]:
        """The first reply of each group."""
        return [
            trace_of(
                group.rollouts[0],
                self._tokenizer,
                thinks=group.prompt.thinks,
                answer=group.prompt.problem.answer,
                reward=group.scores[0].total,
                **group.scores[0].parts,
                **group.scores[0].notes,
            )
            for group in sampled.finished
        ]

    def _leave_collapsed(self) -> str:
        """Keep a checkpoint of a stage that ends without a result; says which and where."""
        if self._best is not None:
            folder = self._context.folder / "best"
            return f"The best checkpoint measured, of step {self._best['step']}, is {folder}"
        folder = self._context.folder / "last"
        self._replace_checkpoint(folder)
        return f"The last checkpoint, of step {self._step}, is {folder}"

    def _replace_checkpoint(self, folder: Path) -> None:
        """Put this step's checkpoint in the place of an earlier one, which stays until this one is whole."""
        fresh = folder.with_name(f"{folder.name}.next")
        if self._accelerator.is_main_process:
            shutil.rmtree(fresh, ignore_errors=True)
        self._save_model(fresh)
        if self._accelerator.is_main_process:
            if folder.exists():
                shutil.rmtree(folder)
            fresh.rename(folder)
        self._accelerator.wait_for_everyone()

    def _save_model(self, folder: Path) -> None:
        model = self._accelerator.unwrap_model(self._model)
        save_checkpoint(model, self._tokenizer, folder, self._accelerator.get_state_dict(self._model))

    def _resume(self) -> None:
        loop = load_state(self._accelerator, self._context.folder / "state")
        if loop is None:
            return
        self._step, self._best = loop["step"], loop["best"]
        self._sampler.restore(loop["sampler"])
        self._rollouts.pending = [flight_from_json(flight) for flight in loop["pending"]]
        if self._monitor is not None and loop["monitor"] is not None:
            self._monitor.restore(loop["monitor"])
        self._backend.sync(self._model, self._step)

    def _save_state(self) -> None:
        loop = {
            "step": self._step,
            "best": self._best,
            "sampler": self._sampler.state(),
            "pending": [flight_to_json(flight) for flight in self._rollouts.pending],
            "monitor": None if self._monitor is None else self._monitor.state(),
        }
        save_state(self._accelerator, self._context.folder / "state", self._step, loop)
