"""The dry run: its memory is what training takes, the shipped recipes pass it, and mistakes are all named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from serve import DEFAULT_MODEL
from trainer.checkpoints import load_model, new_tokenizer
from trainer.cli import main
from trainer.dry_run.memory import ModelMemory, _kept, kv_bytes_per_token
from trainer.optimizers import build_optimizer
from trainer.recipe import load_recipe
from trainer.recipe.model import Lora, Model, ModelShape, Optimizer
from trainer.recipe.stages import ColdStart, ReasoningRL

RECIPES = Path(__file__).parents[2] / "trainer" / "recipes"
QWEN = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}
SMOLLM = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
ADAMW = Optimizer(adamw_lr=1e-3)
MUON = Optimizer(adamw_lr=1e-3, muon_lr=1e-2)


def bytes_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    found: list[torch.Tensor] = []

    def collect(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                collect(inner)

    collect(optimizer.state_dict())
    return bytes_of(found)


@pytest.mark.parametrize(
    ("lora", "dtype", "optimizer"),
    [
        (None, "float32", ADAMW),
        (None, "bfloat16", ADAMW),
        (None, "float32", MUON),
        (Lora(rank=4, alpha=8), "float32", ADAMW),
    ],
)
def test_memory_is_what_training_takes(lora: Lora | None, dtype: Any, optimizer: Optimizer) -> None:
    settings = Model(path=DEFAULT_MODEL, lora=lora, dtype=dtype)
    stage = ColdStart(tokens=1, batch_tokens=128, optimizer=optimizer)
    expected = ModelMemory(AutoConfig.from_pretrained(DEFAULT_MODEL), settings).of(stage)

    model = load_model(DEFAULT_MODEL, settings)
    assert expected.weights == bytes_of(model.parameters())
    trainer = build_optimizer(model, optimizer)
    with _kept(list(model.parameters())) as kept:
        hidden = (model if lora is None else model.get_base_model()).model(
            input_ids=torch.zeros(1, 128, dtype=torch.long), use_cache=False
        )[0]
        assert expected.activations == pytest.approx(kept(), rel=0.01)
    hidden.float().sum().backward()
    for weights in model.parameters():
        if weights.requires_grad and weights.grad is None:
            weights.grad = torch.zeros_like(weights)
    trainer.step()
    gradients = [weights.grad for weights in model.parameters() if weights.grad is not None]
    assert expected.gradients == bytes_of(gradients)
    assert expected.optimizer == state_bytes(trainer)


def test_reference_engine_and_cache_are_counted() -> None:
    config = AutoConfig.from_pretrained(DEFAULT_MODEL)
    base = {
        "steps": 1,
        "prompts_per_step": 1,
        "group_size": 2,
        "optimizer": ADAMW,
        "micro_batch_tokens": 1000,
    }
    memory = ModelMemory(config, Model(path=DEFAULT_MODEL))
    plain = memory.of(
        ReasoningRL(**base, rollouts={"max_tokens": 99, "backend": "transformers"})  # type: ignore[arg-type]
    )
    assert (plain.others, plain.engine, plain.kv_cache) == (0, 0, 0)
    assert plain.logits == 1000 * config.vocab_size * 20
    full = memory.of(
        ReasoningRL(
            **base,  # type: ignore[arg-type]
            rollouts={"max_tokens": 99, "dtype": "bfloat16", "kv_cache_gib": 0.5},
            objective={"kl": {"coefficient": 0.1}},
        )
    )
    assert full.others == plain.weights
    assert full.engine == plain.weights // 2
    assert full.kv_cache == 2**29
    assert full.total == plain.total + plain.weights + plain.weights // 2 + 2**29
    # A value model of the policy's size: weights, gradients, two moments, and activations.
    own = memory.of(
        ReasoningRL(
            **base,  # type: ignore[arg-type]
            rollouts={"max_tokens": 99, "backend": "transformers"},
            critic={"network": "model"},
        )
    )
    assert own.critic == pytest.approx(4 * plain.weights + plain.activations, rel=0.01)
    assert own.total == plain.total + own.critic
    assert kv_bytes_per_token(config, 4) == 2 * 4 * 1 * 64 * 4
    checkpointed = ModelMemory(config, Model(path=DEFAULT_MODEL, gradient_checkpointing=True))
    stage = ColdStart(tokens=1, batch_tokens=100, optimizer=ADAMW)
    assert checkpointed.of(stage).activations < memory.of(stage).activations / 2


def checkpoint_without_weights(folder: Path, config: dict[str, Any], thinks: bool) -> Path:
    """A model's own configuration beside a small tokenizer."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    shape = ModelShape.model_validate({name: config.get(name, 1) for name in ModelShape.model_fields})
    tokenizer = new_tokenizer(shape.model_copy(update={"vocab_size": 576}))
    if not thinks:
        tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """What a local copy of a data set would be, whatever its columns are."""
    path = tmp_path / "traces.jsonl"
    reply = "<think>\nFour and three are seven.\n</think>\n\nIt is \\boxed{7}."
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {number}+3?"},
                {"role": "assistant", "content": reply},
            ],
            "answer": "7",
        }
        for number in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def local_copies(recipe: Path, traces: Path) -> list[str]:
    """Overrides that put local files in the place of every set that would be fetched."""
    overrides = []
    for stage in load_recipe(recipe).stages:
        for number, source in enumerate(stage.data):
            if source.kind in ("hub", "problems"):
                local = f'{{kind="jsonl", path="{traces}"}}'
                overrides += ["--set", f"stages.{stage.name}.data.{number}={local}"]
    return overrides


@pytest.mark.parametrize(
    ("name", "config", "parameters", "thinks"),
    [("qwen3-0.6b", QWEN, "596.05", True), ("smollm2-135m", SMOLLM, "134.52", False)],
)
def test_shipped_recipes_pass(
    name: str,
    config: dict[str, Any],
    parameters: str,
    thinks: bool,
    tmp_path: Path,
    traces: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = RECIPES / f"{name}.toml"
    folder = checkpoint_without_weights(tmp_path / "model", config, thinks)
    command = ["run", str(recipe), "--dry-run", "--out", str(tmp_path / "run")]
    command += ["--set", f"model.path={folder}", *local_copies(recipe, traces)]
    command += ["--set", "ablation.problems=thinkmath"]
    status = main(command)
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert f"{parameters} million parameters" in printed
    for stage in ("cold_start", "reasoning_rl", "fusion", "general_rl"):
        assert printed.count(f"\n{stage} ") >= 1, printed
    assert not (tmp_path / "run").exists()


def test_everything_wrong_is_named_at_once(
    tmp_path: Path, traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = RECIPES / "smollm2-135m.toml"
    folder = checkpoint_without_weights(tmp_path / "model", SMOLLM, thinks=False)
    command = ["run", str(recipe), "--dry-run", "--out", str(tmp_path / "run")]
    command += ["--set", f"model.path={folder}", *local_copies(recipe, traces)]
    changes = [
        "ablation.problems=nothing",
        f"stages.cold_start.data.1.path={tmp_path / 'none.jsonl'}",
        "stages.reasoning_rl.rollouts.max_tokens=9000",
        "stages.fusion.max_length=9000",
        "stages.fusion.rejection.rollouts.kv_cache_gib=0.001",
        "stages.general_rl.rewards.format.weight=3",
        "stages.general_rl.rollouts.answer_tokens=600",
    ]
    for change in changes:
        command += ["--set", change]
    assert main(command) == 2
    wrong = capsys.readouterr().out.split("what is wrong:\n")[1].splitlines()
    assert len(wrong) == len(changes), wrong
    for expected, line in zip(
        [
            "ablation.problems: ",
            "stages.cold_start: data.1 (jsonl): path: there is no file",
            "stages.reasoning_rl.rollouts.max_tokens: 9000 and a prompt are more than the model's context",
            "stages.fusion.max_length: 9000 is more than the model's context of 8192 tokens",
            "stages.fusion.rejection.rollouts.kv_cache_gib: 0.001 holds 23 tokens, less than one reply",
            "stages.general_rl.rewards: rewards: with the weights of step",
            "stages.general_rl.rollouts.answer_tokens: 600 leaves no thinking of max_tokens 512",
        ],
        wrong,
        strict=True,
    ):
        assert expected in line


def test_a_model_that_does_not_think_is_refused(
    tmp_path: Path, traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    folder = checkpoint_without_weights(tmp_path / "model", SMOLLM, thinks=False)
    recipe.write_text(
        f'model = {{ path = "{folder}" }}\n[[stages]]\nkind = "cold_start"\ntokens = 1000\n'
        "batch_tokens = 100\noptimizer = { adamw_lr = 1e-3 }\n",
        "utf-8",
    )
    assert main(["run", str(recipe), "--dry-run", "--out", str(tmp_path / "run")]) == 2
    assert "model.path: this model has no thinking" in capsys.readouterr().out
    assert main(["run", str(recipe), "--dry-run", "--set", f"model.path={tmp_path}/none"]) == 2
    assert f"model.path: there is no folder '{tmp_path}/none'; give a checkpoint's" in capsys.readouterr().out
