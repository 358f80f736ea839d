"""What a dry run prints: the model, the stages' settings, data and steps, and the memory they need."""

import textwrap
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from trainer.dry_run.checks import SAMPLE, Findings, StageFindings
from trainer.dry_run.memory import Memory
from trainer.recipe.preference import PairStage

WIDTH = 100
GIB = 2**30


def show(found: Findings) -> str:
    """All of it, mistakes last."""
    blocks = [_model(found), _stages(found.stages), _settings(found), _memory(found)]
    if found.mistakes:
        blocks.append("\n".join(["what is wrong:", *(f"  {mistake}" for mistake in found.mistakes)]))
    return "\n\n".join(block for block in blocks if block)


def _model(found: Findings) -> str:
    lines = [f"run       {found.out}"]
    config, form = found.config, found.form
    if config is not None and found.memory is not None:
        settings = found.recipe.model
        millions = found.memory.parameters / 1e6
        trained = "all weights" if settings.lora is None else f"LoRA of rank {settings.lora.rank}"
        lines.append(
            f"model     {settings.path or 'from nothing'}: {config.model_type}, "
            f"{millions:,.2f} million parameters, context {config.max_position_embeddings:,} tokens; "
            f"{trained} in {settings.dtype}"
        )
    if form is not None:
        added = "added tags" if found.recipe.model.thinking else "tags"
        lines.append(
            f"thinking  {added} {form.open} and {form.close}, opened by the {form.opened_by}, switched by "
            f"{form.template.switch}; early-stop text of {len(form.stop_ids)} tokens"
        )
    return "\n".join(lines)


def _stages(stages: Sequence[StageFindings]) -> str:
    header = ["stage", "kind", "begins with", "state", "steps", "tokens", "data"]
    rows = [
        [
            stage.stage.name,
            stage.stage.kind,
            stage.start,
            stage.status,
            _steps(stage),
            ("" if stage.row_tokens else "≤ ") + _count(stage.tokens),
            _data(stage),
        ]
        for stage in stages
    ]
    return _table(header, rows)


def _steps(stage: StageFindings) -> str:
    settings = stage.stage
    sampled = isinstance(settings, PairStage) and settings.epochs is not None and settings.pairs.path is None
    return ("≤ " if sampled else "") + _count(stage.steps)


def _data(stage: StageFindings) -> str:
    if not stage.opened:
        return "?"
    parts = ["endless" if stage.size is None else f"{stage.size:,} examples"]
    if stage.prompt_tokens is not None:
        parts.append(f"a prompt {stage.prompt_tokens:,.0f} tokens")
    if stage.row_tokens is not None:
        parts.append(f"a row {stage.row_tokens:,.0f}")
    parts += [f"{count} of the first {SAMPLE} left out: {reason}" for reason, count in stage.left_out.items()]
    return ", ".join(parts)


def _settings(found: Findings) -> str:
    lines = ["settings that are not the defaults:"]
    for stage in found.stages:
        members = stage.stage.model_dump(
            mode="json", exclude_defaults=True, exclude={"kind", "name", "start"}
        )
        values = " ".join(f"{key}={value}" for key, value in _flat(members))
        lines += textwrap.wrap(
            f"{stage.stage.name}: {values}", WIDTH, initial_indent="  ", subsequent_indent="    "
        )
    return "\n".join(lines)


def _flat(members: Any, prefix: str = "") -> list[tuple[str, Any]]:
    pairs = members.items() if isinstance(members, dict) else enumerate(members)
    flat = []
    for name, value in pairs:
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value)):
            flat += _flat(value, f"{prefix}{name}.")
        else:
            flat.append((f"{prefix}{name}", value))
    return flat


def _memory(found: Findings) -> str:
    names = [field.name for field in fields(Memory)]
    rows = []
    for stage in found.stages:
        if stage.memory is not None:
            values = [getattr(stage.memory, name) for name in names]
            cells = [f"{value / GIB:.2f}" if value else "-" for value in [*values, stage.memory.total]]
            rows.append([stage.stage.name, *cells])
    if not rows:
        return ""
    header = ["GiB on a process", *(name.replace("_", " ") for name in names), "total"]
    notes = [
        f"{stage.stage.name}: the KV cache holds {stage.kv_tokens:,} tokens"
        for stage in found.stages
        if stage.kv_tokens is not None
    ]
    return "\n".join([_table(header, rows), *notes])


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join(lines)
