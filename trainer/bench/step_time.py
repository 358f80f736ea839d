"""Time a step of RL: our loop with the serving engine against TRL's GRPOTrainer with transformers' generate.

    python -m trainer.bench.step_time --out runs/bench

Both train the same model on the same problems with the same group size, temperature, token limit, loss (Dr.
GRPO), optimizer and grader, in float32 on the same threads, replies ending by themselves. Their steps
alternate in one process; the first ones only warm up. Prints each side's median and how it is split, and the
median and range of the ratio TRL / ours over the rounds. What either side generated is printed too: unlike
work would be no comparison.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from evals.grading import grade_many
from serve import DEFAULT_MODEL
from serve.bench.results import Ratio, write_result
from serve.formats import load_format
from trainer.checkpoints import load_tokenizer
from trainer.context import StageContext
from trainer.recipe import Recipe
from trainer.recipe.stages import GeneralRL
from trainer.rl.loop import RLLoop
from trainer.sources import open_sources

LEARNING_RATE = 1e-4
Measurement = dict[str, float]


@dataclass(frozen=True, slots=True)
class Work:
    """What a step is. levels: of thinkmath's problems, None for all."""

    checkpoint: Path
    prompts: int
    group_size: int
    max_tokens: int
    levels: tuple[int, ...] | None
    backend: str
    threads: int
    warmup: int
    rounds: int

    @property
    def steps(self) -> int:
        return self.warmup + self.rounds

    def recipe(self) -> Recipe:
        """Our side as a recipe."""
        source: dict[str, Any] = {"kind": "thinkmath"}
        if self.levels is not None:
            source["levels"] = dict.fromkeys(self.levels, 1.0)
        stage = GeneralRL.model_validate(
            {
                "kind": "general_rl",
                "data": [source],
                # One more than is run, as a stage saves its state after the last.
                "steps": self.steps + 1,
                "prompts_per_step": self.prompts,
                "group_size": self.group_size,
                "optimizer": {"adamw_lr": LEARNING_RATE, "warmup": 0.0, "decay": 0.0},
                "rollouts": {"backend": self.backend, "max_tokens": self.max_tokens},
                "checkpoint_every": self.steps + 1,
                "collapse": None,
            }
        )
        return Recipe.model_validate({"model": {"path": self.checkpoint}, "stages": [stage]})


class OurSide:
    """Our loop, a step at a time."""

    def __init__(self, work: Work, folder: Path) -> None:
        recipe = work.recipe()
        self._folder = folder / recipe.stages[0].name
        self._folder.mkdir(parents=True)
        self._loop = RLLoop(
            StageContext(
                recipe=recipe,
                stage=recipe.stages[0],
                seed=recipe.seed,
                start=work.checkpoint,
                run=folder,
                folder=self._folder,
            )
        )
        self._steps = self._loop.steps()

    def step(self) -> Measurement:
        """Train one step; seconds in all and by part, replies and generated tokens."""
        started = monotonic()
        next(self._steps)
        seconds = monotonic() - started
        last = json.loads((self._folder / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
        parts = {name: last[f"seconds/{name}"] for name in ("rollout", "reward", "train", "sync")}
        return {"seconds": seconds, **parts, "tokens": last["length/mean"], "right": last["reward/total"]}

    def close(self) -> None:
        self._loop.close()


class TRLSide(TrainerCallback):
    """TRL's trainer; `between` is called after each of its steps, outside what is timed."""

    def __init__(self, work: Work, folder: Path, between: Callable[[], None]) -> None:
        self.measured: list[Measurement] = []
        self._between = between
        self._generating = self._grading = 0.0
        self._tokens: list[int] = []
        self._right: list[float] = []
        recipe = work.recipe()
        stage = recipe.stages[0]
        assert isinstance(stage, GeneralRL)
        examples = open_sources(stage.data, recipe.seed)
        problems = [examples.at(place).problem for place in range(work.steps * work.prompts)]
        rows = [{"prompt": [{"role": "user", "content": p.problem}], "gold": p.answer} for p in problems]
        tokenizer = load_tokenizer(work.checkpoint)
        self._close = load_format(tokenizer, work.checkpoint).close
        self._trainer = GRPOTrainer(
            model=str(work.checkpoint),
            reward_funcs=self._reward,
            args=_grpo_config(work, folder),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[self],
        )
        generate = self._trainer.model.generate

        def timed(*args: Any, **options: Any) -> Any:
            started = monotonic()
            try:
                return generate(*args, **options)
            finally:
                self._generating += monotonic() - started

        self._trainer.model.generate = timed

    def train(self) -> None:
        """Every step."""
        self._trainer.train()

    def on_step_begin(self, *args: Any, **options: Any) -> None:
        """Start the clock: TRL samples, scores and trains within a step."""
        self._generating = self._grading = 0.0
        self._started = monotonic()

    def on_step_end(self, *args: Any, **options: Any) -> None:
        """Stop it, and let the other side have its step."""
        seconds = monotonic() - self._started
        self.measured.append(
            {
                "seconds": seconds,
                "rollout": self._generating,
                "reward": self._grading,
                "train": seconds - self._generating - self._grading,
                "sync": 0.0,
                "tokens": statistics.fmean(self._tokens),
                "right": statistics.fmean(self._right),
            }
        )
        self._between()

    def _reward(
        self,
        completions: list[list[dict[str, str]]],
        completion_ids: list[list[int]],
        gold: list[str],
        **other: Any,
    ) -> list[float]:
        started = monotonic()
        answers = [turns[-1]["content"].rpartition(self._close)[2] for turns in completions]
        found = [float(g.correct) for g in grade_many(list(zip(gold, answers, strict=True)))]
        self._grading += monotonic() - started
        self._tokens, self._right = [len(ids) for ids in completion_ids], found
        return found


def _grpo_config(work: Work, folder: Path) -> GRPOConfig:
    return GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=work.prompts * work.group_size,
        num_generations=work.group_size,
        max_completion_length=work.max_tokens,
        max_steps=work.steps,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=0.0,
        loss_type="dr_grpo",
        scale_rewards="none",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        adam_beta1=0.9,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        model_init_kwargs={"dtype": "float32"},
        shuffle_dataset=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=work.steps,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if the two sides did like work, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m trainer.bench.step_time", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="checkpoint (the shipped one)")
    parser.add_argument("--prompts", type=int, default=32, help="a step (32)")
    parser.add_argument("--group-size", type=int, default=8, help="replies to each (8)")
    parser.add_argument("--max-tokens", type=int, default=256, help="of a reply (256)")
    parser.add_argument("--levels", type=int, nargs="+", help="of the problems; 5 for the longest (all)")
    parser.add_argument("--backend", default="engine", choices=("engine", "transformers"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=1, help="steps of each side that do not count (1)")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each side that do (5)")
    parser.add_argument("--out", type=Path, required=True, help="folder for step_time.json")
    options = parser.parse_args(argv)
    levels = None if options.levels is None else tuple(options.levels)
    work = Work(
        options.model.resolve(),
        options.prompts,
        options.group_size,
        options.max_tokens,
        levels,
        options.backend,
        options.threads,
        options.warmup,
        options.rounds,
    )
    ours, theirs = alternate(work)
    found = report(work, ours, theirs)
    name = "step_time" if levels is None else f"step_time_level{'_'.join(map(str, levels))}"
    write_result(options.out, name, found, ratios=[told_ratio(found)])
    print(table(found))
    return 0 if 0.9 <= found["tokens_ratio"] <= 1.1 else 1


def alternate(work: Work) -> tuple[list[Measurement], list[Measurement]]:
    """Every step of both sides in turn, TRL first; without the warm-up."""
    ours: list[Measurement] = []
    with TemporaryDirectory() as folder:
        torch.set_num_threads(work.threads)
        our_side = OurSide(work, Path(folder) / "ours")

        def our_turn() -> None:
            ours.append(our_side.step())
            # The engine may set the threads of this process for itself.
            torch.set_num_threads(work.threads)

        try:
            their_side = TRLSide(work, Path(folder) / "trl", our_turn)
            torch.set_num_threads(work.threads)
            their_side.train()
        finally:
            our_side.close()
    return ours[work.warmup :], their_side.measured[work.warmup :]


def report(work: Work, ours: Sequence[Measurement], theirs: Sequence[Measurement]) -> dict[str, Any]:
    """Medians, and ratios TRL / ours round by round."""
    ratios = sorted(t["seconds"] / o["seconds"] for o, t in zip(ours, theirs, strict=True))
    medians = {
        side: {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        for side, rows in (("ours", ours), ("trl", theirs))
    }
    return {
        "prompts": work.prompts,
        "group_size": work.group_size,
        "max_tokens": work.max_tokens,
        "levels": work.levels,
        "backend": work.backend,
        "threads": work.threads,
        "medians": medians,
        "ratio": {"median": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]},
        "tokens_ratio": statistics.fmean(r["tokens"] for r in ours)
        / statistics.fmean(r["tokens"] for r in theirs),
        "rounds": {"ours": list(ours), "trl": list(theirs)},
    }


def told_ratio(found: dict[str, Any]) -> Ratio:
    """Speed against TRL's, for the page of all benchmarks."""
    ratio, rounds = found["ratio"], len(found["rounds"]["ours"])
    levels = "" if found["levels"] is None else f", level {', '.join(map(str, found['levels']))}"
    what = f"steps of RL a second, {found['prompts']} x {found['group_size']} replies{levels}"
    spread = f"range of {rounds} rounds"
    return Ratio(
        what, "our loop", "TRL", ratio["median"], ratio["low"], ratio["high"], spread, better="higher"
    )


def table(found: dict[str, Any]) -> str:
    """The report for a terminal."""
    parts = ("seconds", "rollout", "reward", "train", "sync", "tokens", "right")
    head = "  ".join(f"{name:>8}" for name in parts)
    rows = [
        f"{side:>5}  " + "  ".join(f"{medians[name]:8.2f}" for name in parts)
        for side, medians in found["medians"].items()
    ]
    ratio = found["ratio"]
    return "\n".join(
        [
            f"median seconds of a step of {found['prompts']} x {found['group_size']} replies; tokens of a "
            "reply, share right",
            f"{'':>5}  {head}",
            *rows,
            f"TRL / ours: {ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f} over the rounds)",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
