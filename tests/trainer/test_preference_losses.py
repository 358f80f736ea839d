"""Losses of pairs: by hand, by finite differences on a two-token policy, and TRL's on the same model."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from micro_models import micro_policy
from torch import Tensor
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo import CPOTrainer

from trainer.objectives.preference import Replies, pair_losses, reply_reward
from trainer.preference.batch import compare, pair_inputs
from trainer.preference.metrics import pair_metrics, pair_sums
from trainer.preference.pairs import Pair
from trainer.recipe.preference import PreferenceObjective
from trainer.rows.row import Row

NAN = float("nan")
# Log ratios: chosen 0.5 + 0 over two tokens, rejected -0.5 over one. Padding would be noticed.
CHOSEN = Replies(torch.tensor([[-0.5, -1.5]]), torch.tensor([[-1.0, -1.5]]), torch.tensor([[True, True]]))
REJECTED = Replies(torch.tensor([[-1.2, NAN]]), torch.tensor([[-0.7, NAN]]), torch.tensor([[True, False]]))
LOSSES = ("sigmoid", "sigmoid_norm", "ipo", "hinge", "simpo")


def objective(**members: Any) -> PreferenceObjective:
    return PreferenceObjective.model_validate(members)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"loss": "sigmoid"}, math.log1p(math.exp(-0.1 * (0.5 + 0.5)))),
        ({"loss": "sigmoid", "beta": 2.0}, math.log1p(math.exp(-2.0))),
        ({"loss": "sigmoid_norm"}, math.log1p(math.exp(-5 * (0.5 / 2 + 0.5 / 1)))),
        ({"loss": "hinge"}, 0.9),
        ({"loss": "hinge", "beta": 2.0}, 0.0),
        ({"loss": "ipo"}, (0.25 + 0.5 - 5) ** 2),
        # 2 (-2 / 2) - 2 (-1.2 / 1) = 0.4, less the margin.
        ({"loss": "simpo"}, math.log1p(math.exp(0.6))),
        ({"loss": "simpo", "margin": 0.0}, math.log1p(math.exp(-0.4))),
        ({"loss": "hinge", "nll": 0.5}, 0.9 + 0.5 * (2.0 / 2)),
        # r - 1 - log r at r = e^0.5, 1 and e^-0.5, over three tokens.
        ({"loss": "hinge", "kl": 3.0}, 0.9 + (math.exp(0.5) - 1.5) + (math.exp(-0.5) - 0.5)),
    ],
)
def test_losses_by_hand(members: dict[str, Any], expected: float) -> None:
    (loss,) = pair_losses(CHOSEN, REJECTED, objective(**members))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_simpo_does_not_look_at_the_reference() -> None:
    blind = [
        Replies(each.logprobs, torch.full_like(each.reference, NAN), each.mask) for each in (CHOSEN, REJECTED)
    ]
    losses = [pair_losses(*pair, objective(loss="simpo")).item() for pair in ((CHOSEN, REJECTED), blind)]
    assert losses[0] == losses[1]


REPLIES = {"chosen": [0, 1, 1], "rejected": [1, 0]}


def toy_losses(logits: Tensor, settings: PreferenceObjective) -> Tensor:
    """A policy of two tokens whose distribution depends on the place alone; the reference is uniform."""
    logprobs = logits.log_softmax(-1)
    pair = []
    for tokens in REPLIES.values():
        chosen = logprobs[range(len(tokens)), tokens].unsqueeze(0)
        uniform = torch.full_like(chosen, -math.log(2))
        pair.append(Replies(chosen, uniform, torch.ones_like(chosen, dtype=torch.bool)))
    return pair_losses(*pair, settings).sum()


@pytest.mark.parametrize("extra", [{}, {"kl": 0.7, "nll": 0.3}], ids=["plain", "kl and nll"])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_by_finite_differences(loss: str, extra: dict[str, float]) -> None:
    settings = objective(loss=loss, beta=0.5, **extra)
    logits = torch.tensor([[0.3, -0.2], [0.1, 0.4], [-0.5, 0.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: toy_losses(given, settings), (logits,), eps=1e-6, atol=1e-7)


def test_the_kl_term_is_unbiased_over_the_reference_s_replies() -> None:
    """Summed over both tokens with the reference's probabilities it is KL(reference || policy), exactly."""
    reference, policy = torch.tensor([0.3, 0.7]), torch.tensor([0.6, 0.4])
    one = torch.ones(2, 1, dtype=torch.bool)
    both = Replies(policy.log().unsqueeze(1), reference.log().unsqueeze(1), one)
    plain, with_kl = (pair_losses(both, both, objective(loss="hinge", kl=kl)) for kl in (0.0, 1.0))
    expected = (reference * (reference / policy).log()).sum()
    assert (reference * (with_kl - plain)).sum().item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.fixture(scope="module")
def trl(tmp_path_factory: pytest.TempPathFactory) -> DPOTrainer:
    folder = tmp_path_factory.mktemp("dpo")
    model, tokenizer = micro_policy()
    return DPOTrainer(
        model=model,
        ref_model=micro_policy(1)[0],
        args=DPOConfig(str(folder), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none"),
        train_dataset=Dataset.from_dict({"prompt": ["1"], "chosen": ["2"], "rejected": ["3"]}),
        processing_class=tokenizer,
    )


def make_pairs() -> list[Pair]:
    """Three pairs of unlike lengths, the second with inserted tokens."""
    generator = torch.Generator().manual_seed(1)
    pairs = []
    for prompt, chosen, rejected in ((3, 5, 2), (4, 6, 7), (2, 1, 4)):
        ids = [
            torch.randint(5, 60, (length,), generator=generator).tolist()
            for length in (prompt, chosen, rejected)
        ]
        rows = [
            Row(ids[0] + reply, [0.0] * prompt + [1.0] * len(reply), prompt, "think") for reply in ids[1:]
        ]
        pairs.append(Pair(rows[0], rows[1], 1.0))
    pairs[1].chosen.weights[6:8] = [0.0, 0.0]
    return pairs


def inputs_of_trl(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    reference = inputs["reference"].sum(dim=1).chunk(2)
    return {
        "input_ids": inputs["ids"],
        "attention_mask": torch.ones_like(inputs["ids"]),
        "completion_mask": inputs["mask"].long(),
        "ref_chosen_logps": reference[0],
        "ref_rejected_logps": reference[1],
    }


def reference_of(pairs: list[Pair]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [
        tuple(
            -4 * torch.rand(int(sum(row.weights)), generator=generator)
            for row in (pair.chosen, pair.rejected)
        )
        for pair in pairs
    ]


@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid_norm", "ipo", "hinge"])
def test_loss_gradients_and_metrics_are_trls(loss: str, trl: DPOTrainer) -> None:
    settings = objective(loss=loss, beta=0.3)
    pairs = make_pairs()
    inputs = pair_inputs(pairs, reference_of(pairs), pad=0)
    parameters = list(trl.model.parameters())
    compared = compare(trl.model, inputs)
    ours = pair_losses(compared.chosen, compared.rejected, settings).mean()
    mine = torch.autograd.grad(ours, parameters)

    trl.loss_types, trl.loss_weights, trl.beta, trl.precompute_ref_logps = [loss], [1.0], 0.3, True
    trl._metrics["train"].clear()
    theirs = trl._compute_loss(trl.model.train(), inputs_of_trl(inputs), return_outputs=False)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5, abs=1e-6)
    for own, other in zip(mine, torch.autograd.grad(theirs, parameters), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)

    metrics = pair_metrics(pair_sums(compared, objective(beta=0.3)), has_reference=True)
    logged = {name: values[-1] for name, values in trl._metrics["train"].items()}
    for own_name, name in {
        "reward/chosen": "rewards/chosen",
        "reward/rejected": "rewards/rejected",
        "reward/margin": "rewards/margins",
        "reward/accuracy": "rewards/accuracies",
        "logprob/chosen": "logps/chosen",
        "logprob/rejected": "logps/rejected",
        "entropy": "entropy",
    }.items():
        assert metrics[own_name] == pytest.approx(logged[name], rel=1e-4, abs=1e-5), name


def test_simpo_is_trls_cpo(trl: DPOTrainer) -> None:
    pairs = make_pairs()
    inputs = pair_inputs(pairs, None, pad=0)
    compared = compare(trl.model, inputs)
    settings = objective(loss="simpo", beta=2.5, margin=1.4)
    ours = pair_losses(compared.chosen, compared.rejected, settings)

    logits = trl.model(input_ids=inputs["ids"]).logits
    labels = inputs["ids"].masked_fill(~inputs["mask"], -100)
    averages = CPOTrainer.get_batch_logps(logits, labels, average_log_prob=True)
    cpo = SimpleNamespace(
        alpha=0.0,
        beta=2.5,
        simpo_gamma=1.4,
        loss_type="simpo",
        label_smoothing=0.0,
        accelerator=trl.accelerator,
    )
    theirs, chosen, _ = CPOTrainer.cpo_loss(cpo, *averages.chunk(2))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(reply_reward(compared.chosen, settings).detach(), chosen, rtol=1e-5, atol=1e-6)


def test_inserted_tokens_and_prompts_have_no_part_in_a_loss(trl: DPOTrainer) -> None:
    """The reference's value of an untrained token is not there to be read; of a trained one it is."""
    pairs = make_pairs()
    inputs = pair_inputs(pairs, reference_of(pairs), pad=0)
    compared = compare(trl.model, inputs)
    assert compared.chosen.lengths.tolist() == [5, 4, 1]
    assert compared.rejected.lengths.tolist() == [2, 7, 4]
    compared.chosen.logprobs.sum().backward()
    assert not inputs["reference"][~inputs["mask"][:, 1:]].any()
    masked = compared.chosen.logprobs[~compared.chosen.mask]
    assert masked.abs().max() == 0
