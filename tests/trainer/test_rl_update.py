"""Updates: micro-batches, processes and padding never change a gradient; old policies stay what they were."""

import copy
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from rl_micro import micro_model, minibatches, rows

from trainer.objectives import policy_loss
from trainer.recipe.model import Optimizer
from trainer.recipe.rl import Objective
from trainer.rl.batches import Row
from trainer.rl.collapse import CollapseError
from trainer.rl.policy import token_logprobs
from trainer.rl.update import PolicyUpdate


def gradient(its: list[Row], settings: Objective, tokens: int, ranks: int) -> dict[str, torch.Tensor]:
    """The first optimizer step's gradient, summed over processes."""
    model = micro_model()
    for rank in range(ranks):
        part = minibatches(its, settings, tokens, rank, ranks)[0]
        for batch in part.micro_batches:
            logprobs, entropies = token_logprobs(model, batch, 1.0, with_entropy=True)
            loss, _ = policy_loss(
                logprobs,
                logprobs.detach(),
                batch.rollout_logprobs,
                batch.advantages,
                batch.mask,
                None,
                settings,
                part.normaliser,
                entropies,
            )
            loss.backward()
    return {name: weights.grad for name, weights in model.named_parameters() if weights.grad is not None}


@pytest.mark.parametrize("normalisation", ["sequence", "token", "constant", "rollout"])
@pytest.mark.parametrize("mask_truncated", [False, True])
def test_micro_batches_and_processes_do_not_change_the_gradient(
    normalisation: str, mask_truncated: bool
) -> None:
    settings = Objective.model_validate(
        {"normalisation": normalisation, "mask_truncated": mask_truncated, "correction": "sequence"}
    )
    whole = gradient(rows(13), settings, tokens=10_000, ranks=1)
    assert max(float(its.abs().max()) for its in whole.values()) > 1e-4
    for tokens, ranks in ((40, 1), (100, 2), (60, 3)):
        parts = gradient(rows(13), settings, tokens, ranks)
        for name, its in whole.items():
            torch.testing.assert_close(parts[name], its, atol=2e-6, rtol=1e-4)


def test_rows_left_out_have_no_gradient() -> None:
    """With a vanishing entropy bonus no row is left out; the gradient is the same."""
    left_out = gradient(rows(13), Objective(), 100, 1)
    computed = gradient(rows(13), Objective(entropy_bonus=1e-12), 100, 1)
    for name, its in computed.items():
        torch.testing.assert_close(left_out[name], its, atol=1e-6, rtol=1e-4)


@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 3), st.integers(30, 200))
def test_every_useful_row_is_trained_on_once(count: int, parts: int, ranks: int, tokens: int) -> None:
    its = rows(count, seed=count)
    settings = Objective(minibatches=parts)
    seen = []
    for number in range(min(parts, count)):
        dealt = [minibatches(its, settings, tokens, rank, ranks)[number] for rank in range(ranks)]
        assert len({len(part.micro_batches) for part in dealt}) == 1
        assert len({part.normaliser for part in dealt}) == 1
        for part in dealt:
            for batch in part.micro_batches:
                assert batch.inputs.numel() <= tokens or len(batch.inputs) == 1
                seen += [int(trained) for trained in batch.mask.sum(1) if trained]
    useful = [row.rollout.inserted.count(False) for row in its if row.advantage]
    assert sorted(seen) == sorted(trained for trained in useful if trained)


def test_log_probabilities_are_those_of_each_row_alone() -> None:
    model = micro_model()
    # Of different lengths, by which the batch is sorted.
    its = list({len(row): replace(row, advantage=1.0) for row in rows(8)}.values())
    (part,) = minibatches(its, Objective(), tokens=10_000)
    (batch,) = part.micro_batches
    logprobs, entropies = token_logprobs(model, batch, 0.7, with_entropy=True)
    assert entropies is not None
    for index, row in enumerate(sorted(its, key=len)):
        prompt, reply = row.rollout.request.prompt_ids, row.rollout.token_ids
        logits = model(input_ids=torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1] / 0.7
        alone = logits.log_softmax(-1)
        sampled = ~torch.tensor(row.rollout.inserted)
        expected = alone.gather(-1, torch.tensor(reply)[:, None])[sampled, 0]
        torch.testing.assert_close(logprobs[index][batch.mask[index]], expected, atol=1e-5, rtol=1e-4)
        expected_entropy = -(alone.exp() * alone).sum(-1)[sampled]
        torch.testing.assert_close(
            entropies[index][batch.mask[index]], expected_entropy, atol=1e-5, rtol=1e-4
        )
        told = torch.tensor(row.rollout.logprobs)[sampled]
        torch.testing.assert_close(batch.rollout_logprobs[index][batch.mask[index]], told)
    assert not logprobs[~batch.mask].any()


def updater(model: torch.nn.Module, reference: torch.nn.Module | None, settings: Objective) -> PolicyUpdate:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rate = Optimizer(adamw_lr=0.1, max_grad_norm=100.0)
    return PolicyUpdate(model, reference, optimizer, Accelerator(cpu=True), settings, rate, 1.0)


def test_several_updates_clip_against_the_policy_before_the_first() -> None:
    model = micro_model()
    settings = Objective(epochs=3, minibatches=2, correction="none", clip_low=0.01, clip_high=0.01)
    metrics = updater(model, None, settings).run(minibatches(rows(12), settings))
    assert metrics["clip/share"] > 0
    assert metrics["ratio/max"] > 1.01
    # One update has no older policy to be clipped against.
    once = updater(micro_model(), None, Objective()).run(minibatches(rows(12), Objective()))
    assert once["ratio/max"] == 1.0
    assert "kl" not in once


def test_the_penalty_measures_the_distance_from_the_reference() -> None:
    settings = Objective.model_validate({"kl": {"coefficient": 0.1}})
    reference = micro_model().requires_grad_(False)
    model = micro_model()
    assert updater(model, reference, settings).run(minibatches(rows(8), settings))["kl"] == pytest.approx(0)
    moved = updater(model, reference, settings).run(minibatches(rows(8), settings))["kl"]
    assert moved > 1e-6
    for weights, before in zip(reference.parameters(), micro_model().parameters(), strict=True):
        assert torch.equal(weights, before)


def test_a_gradient_that_is_not_finite_touches_no_weight() -> None:
    model = micro_model()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CollapseError, match=r"the loss is nan .* try a lower optimizer\.adamw_lr"):
        updater(model, None, Objective()).run(minibatches(rows(4), Objective()))
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, before[name]) or name == "model.norm.weight"
