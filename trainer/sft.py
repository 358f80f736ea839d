"""One SFT stage: weighted cross-entropy on packed-by-length rows, with Muon, checkpoints and exact resume."""

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from trainer.batch import Batch, forward, make_batch
from trainer.fusion import Row, draw_row
from trainer.recipe import Optimizer, Recipe, Stage
from trainer.validation import validate


def train_stage(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, stage: Stage, folder: Path
) -> None:
    """Train `model` in place through `stage`.

    `folder` holds `checkpoint.pt` and `metrics.jsonl`. A run that was killed goes on from its last
    checkpoint, drawing the same rows it would have drawn, and drops the metrics written after it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, metrics = folder / "checkpoint.pt", folder / "metrics.jsonl"
    optimizers = build_optimizers(model, stage.optimizer)
    step, tokens, chunk = 0, 0, 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, tokens, chunk = state["step"], state["tokens"], state["chunk"]
        print(
            f"{stage.name}: resuming at step {step}, {tokens:,} of {stage.tokens:,} tokens", file=sys.stderr
        )
    _drop_metrics_after(metrics, step)
    started, started_tokens = time.monotonic(), tokens
    model.train()
    with metrics.open("a", encoding="utf-8") as log:
        while tokens < stage.tokens:
            losses = []
            for batch in chunk_batches(tokenizer, recipe, stage, chunk):
                scale = learning_rate_scale(tokens / stage.tokens, stage.optimizer)
                losses.append(train_step(model, optimizers, batch, scale))
                step += 1
                tokens += batch.ids.numel()
            chunk += 1
            done = tokens >= stage.tokens
            seconds = time.monotonic() - started
            rate = (tokens - started_tokens) / seconds
            record: dict[str, Any] = {
                "step": step,
                "tokens": tokens,
                "loss": sum(losses) / len(losses),
                "learning_rate_scale": scale,
                "tokens_per_second": rate,
            }
            if chunk % recipe.validation_chunks == 0 or done:
                record |= validate(model, tokenizer, recipe.validation_problems)
            log.write(json.dumps(record) + "\n")
            log.flush()
            if chunk % recipe.checkpoint_chunks == 0 or done:
                os.fsync(log.fileno())
                _save(checkpoint, model, optimizers, step, tokens, chunk)
            left = max(0.0, stage.tokens - tokens) / rate
            shown = " ".join(f"{key}={value:.3f}" for key, value in record.items() if "/" in key)
            print(
                f"{stage.name} step {step} {min(1, tokens / stage.tokens):.0%} loss {record['loss']:.4f} "
                f"{rate:,.0f} tok/s {left / 60:.1f} min left {shown}",
                file=sys.stderr,
            )


def chunk_batches(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, stage: Stage, chunk: int
) -> Iterator[Batch]:
    """The batches of one chunk, a function of the seed, the stage and the chunk's number alone.

    Rows are drawn for about `chunk_batches` batches, sorted by length so that little is padding, and cut
    into batches of at most `batch_tokens`, which come in random order.
    """
    rng = random.Random(f"{recipe.seed}-{stage.name}-{chunk}")
    rows: list[Row] = []
    drawn = 0
    while drawn < recipe.chunk_batches * stage.batch_tokens:
        rows.append(draw_row(rng, tokenizer, "train", stage.mix))
        drawn += len(rows[-1].ids)
    rows.sort(key=lambda row: len(row.ids))
    groups: list[list[Row]] = [[]]
    for row in rows:
        if groups[-1] and len(row.ids) * (len(groups[-1]) + 1) > stage.batch_tokens:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    pad = tokenizer.convert_tokens_to_ids(str(tokenizer.pad_token))
    for group in groups:
        yield make_batch(group, pad)


def train_step(
    model: Qwen3ForCausalLM, optimizers: list[torch.optim.Optimizer], batch: Batch, scale: float
) -> float:
    """One update; returns the weighted mean cross-entropy in nats per token."""
    logits = forward(model, batch)[:, :-1]
    targets, weights = batch.ids[:, 1:], batch.weights[:, 1:]
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    loss = (losses * weights.flatten()).sum() / weights.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * scale
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def build_optimizers(model: Qwen3ForCausalLM, settings: Optimizer) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the layers' matrices, AdamW for embeddings, head and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=settings.muon_lr, weight_decay=settings.weight_decay)
    adamw = torch.optim.AdamW(
        others, lr=settings.adamw_lr, betas=(0.9, 0.95), weight_decay=settings.weight_decay
    )
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adamw]


def learning_rate_scale(progress: float, settings: Optimizer) -> float:
    """The learning rate's share of its peak at `progress` in [0, 1)."""
    rising = (progress + 1e-3) / settings.warmup if settings.warmup else 1.0
    falling = (1 - progress) / settings.decay if settings.decay else 1.0
    return min(1.0, rising, falling)


def _drop_metrics_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        # A killed run may have left half a line, which no later record follows.
        if not line.endswith("\n") or json.loads(line)["step"] > step:
            break
        kept.append(line)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    partial.replace(path)


def _save(
    path: Path,
    model: Qwen3ForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    tokens: int,
    chunk: int,
) -> None:
    partial = path.with_suffix(".partial")
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
        "tokens": tokens,
        "chunk": chunk,
    }
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
