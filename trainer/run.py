"""Run a recipe: stages in order, each from the checkpoint the last one left, resumable at any point."""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

from trainer.model import new_model, new_tokenizer, save_checkpoint
from trainer.recipe import Recipe
from trainer.sft import train_stage

FREE_ON_RESUME = {"threads", "checkpoint_chunks", "validation_chunks", "validation_problems"}
"""Members of a recipe that do not change what is learnt, so a resumed run may change them."""


def run_recipe(recipe: Recipe, out: Path) -> Path:
    """Train every stage of `recipe` into `out` and return the last checkpoint's folder.

    `out` holds `recipe.json`, `init/` (random weights and tokenizer) and for each stage `<name>/checkpoint/`
    (what transformers and vLLM load) beside its training state. Finished stages are not run again; a killed
    one goes on from its last training state.

    Raises:
        ValueError: `out` holds a run of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    _claim(out / "recipe.json", recipe)
    torch.set_num_threads(recipe.threads)
    before = out / "init"
    if not before.exists():
        tokenizer = new_tokenizer(recipe.model)
        save_checkpoint(new_model(recipe.model, tokenizer, recipe.seed), tokenizer, before)
    for stage in recipe.stages:
        after = out / stage.name / "checkpoint"
        if after.exists():
            print(f"{stage.name}: done", file=sys.stderr)
        else:
            model = Qwen3ForCausalLM.from_pretrained(before, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(before)
            train_stage(model, tokenizer, recipe, stage, out / stage.name)
            save_checkpoint(model, tokenizer, after)
        before = after
    return before


def _claim(path: Path, recipe: Recipe) -> None:
    wanted = recipe.model_dump(mode="json", exclude=FREE_ON_RESUME)
    if path.exists():
        held = json.loads(path.read_text(encoding="utf-8"))
        different = sorted(key for key in wanted if wanted[key] != held.get(key))
        if different:
            raise ValueError(
                f"{path.parent} holds a run whose {', '.join(different)} differ from this recipe's; "
                "expected the same recipe to resume it, or another --out"
            )
        return
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
