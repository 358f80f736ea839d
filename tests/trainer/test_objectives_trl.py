"""The policy loss against TRL's GRPOTrainer: loss and gradients on the same model, tokens and advantages."""

from pathlib import Path
from typing import Any

import pytest
import torch
from micro_models import micro_policy
from torch import Tensor

from trainer.objectives import entropy, normaliser, policy_loss
from trainer.recipe.rl import KL, Objective

ROWS, PROMPT, REPLY = 4, 3, 6
LENGTHS = torch.tensor([6, 2, 5, 1])
ADVANTAGES = torch.tensor([1.2, -0.7, 0.4, -0.9])

# Our settings, and TRL's for the same loss.
CASES: dict[str, tuple[Objective, dict[str, Any]]] = {
    "GRPO": (
        Objective(normalisation="sequence", correction="none", kl=KL(estimator="k3", coefficient=0.04)),
        {"loss_type": "grpo", "beta": 0.04},
    ),
    "Dr. GRPO": (
        Objective(normalisation="constant", correction="none"),
        {"loss_type": "dr_grpo"},
    ),
    "DAPO": (
        Objective(normalisation="token", correction="none", clip_high=0.28),
        {"loss_type": "dapo", "epsilon_high": 0.28},
    ),
    "GSPO": (
        Objective(
            normalisation="sequence", correction="none", ratio="sequence", clip_low=0.0003, clip_high=0.0004
        ),
        {
            "loss_type": "grpo",
            "importance_sampling_level": "sequence",
            "epsilon": 0.0003,
            "epsilon_high": 0.0004,
        },
    ),
    "KL over tokens": (
        Objective(normalisation="token", correction="none", kl=KL(estimator="k3", coefficient=0.5)),
        {"loss_type": "dapo", "beta": 0.5},
    ),
    "token correction": (
        Objective(normalisation="constant", correction="token", correction_cap=1.1),
        {"loss_type": "dr_grpo"},
    ),
    "sequence correction": (
        Objective(normalisation="constant", correction="sequence", correction_cap=1.1),
        {"loss_type": "dr_grpo"},
    ),
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3")
    model, tokenizer = micro_policy()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_trls(name: str, model_folder: Path, tmp_path: Path) -> None:
    settings, options = CASES[name]
    trainer = _trainer(model_folder, tmp_path, options)
    model = trainer.model
    torch.manual_seed(1)
    ids = torch.randint(5, 60, (ROWS, PROMPT + REPLY))
    mask = torch.arange(REPLY) < LENGTHS.unsqueeze(1)
    logprobs, entropies = _logprobs(model, ids)
    old = logprobs.detach() + 0.3 * torch.randn(ROWS, REPLY)
    rollout = old + 0.2 * torch.randn(ROWS, REPLY)
    reference = logprobs.detach() + 0.5 * torch.randn(ROWS, REPLY)

    count = normaliser(mask.sum(dim=1), settings.normalisation, REPLY)
    loss, stats = policy_loss(logprobs, old, rollout, ADVANTAGES, mask, reference, settings, count, entropies)
    ours = torch.autograd.grad(loss, list(model.parameters()))

    inputs = {
        "prompt_ids": ids[:, :PROMPT],
        "prompt_mask": torch.ones(ROWS, PROMPT, dtype=torch.long),
        "completion_ids": ids[:, PROMPT:],
        "completion_mask": mask.long(),
        "advantages": ADVANTAGES,
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }
    if settings.correction != "none":
        difference = (old - rollout) * mask
        if settings.correction == "sequence":
            difference = difference.sum(dim=1, keepdim=True)
        trainer.use_vllm = trainer.vllm_importance_sampling_correction = True
        inputs["importance_sampling_ratio"] = difference.exp().clamp(max=settings.correction_cap)
    expected = trainer._compute_loss(model, inputs)
    theirs = torch.autograd.grad(expected, list(model.parameters()))

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    assert abs(loss.item()) > 1e-3
    for mine, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-4, atol=1e-6)
    metrics, logged = stats.metrics(), trainer._metrics["train"]
    assert metrics["entropy"] == pytest.approx(logged["entropy"][-1], rel=1e-4)
    if settings.kl.coefficient:
        assert metrics["kl"] == pytest.approx(logged["kl"][-1], rel=1e-4)
    if settings.ratio == "token":  # TRL counts rollouts where the ratio is one of a rollout, we count tokens
        assert metrics["clip/low"] == pytest.approx(logged["clip_ratio/low_mean"][-1], rel=1e-5)
        assert metrics["clip/high"] == pytest.approx(logged["clip_ratio/high_mean"][-1], rel=1e-5)
        assert metrics["clip/share"] > 0


def _trainer(model_folder: Path, folder: Path, options: dict[str, Any]) -> Any:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        per_device_train_batch_size=ROWS,
        num_generations=ROWS,
        max_completion_length=REPLY,
        use_bias_correction_kl=False,
        model_init_kwargs={"dtype": "float32"},
        **options,
    )
    trainer = GRPOTrainer(
        model=str(model_folder),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["1+1"]}),
        processing_class=AutoTokenizer.from_pretrained(model_folder),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def _logprobs(model: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    logits = model(input_ids=ids).logits[:, PROMPT - 1 : -1]
    chosen = logits.log_softmax(-1).gather(-1, ids[:, PROMPT:].unsqueeze(-1)).squeeze(-1)
    return chosen, entropy(logits)
