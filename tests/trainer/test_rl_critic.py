"""The critic in the RL loop: its values, updates however they are split, resuming, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import rl_runs
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from rl_micro import MAX_TOKENS, micro_model, minibatches, rows
from torch import nn
from transformers import AutoModelForSequenceClassification, Qwen3ForTokenClassification

from trainer.checkpoints import load_tokenizer
from trainer.objectives.gae import gae, token_rewards
from trainer.recipe.critic import Critic as Settings
from trainer.recipe.model import Model, Optimizer
from trainer.recipe.rl import Objective
from trainer.rl import run_stage
from trainer.rl.batches import Row
from trainer.rl.critic import Critic, open_critic
from trainer.rl.loop import RLLoop
from trainer.rl.policy import token_outputs
from trainer.rl.update import PolicyUpdate
from trainer.rollouts.types import Rollout, RolloutRequest

Network = Literal["head", "model"]
NETWORKS: tuple[Network, ...] = ("head", "model")
SEVERAL = Objective(epochs=2, minibatches=2, normalisation="token", correction="none")


def value_network(network: Network) -> nn.Module:
    """With values that are not 0, so that a head's gradient reaches the policy."""
    torch.manual_seed(1)
    if network == "head":
        return nn.Linear(32, 1)
    config = micro_model().config
    config.num_labels, config.classifier_dropout = 1, 0.0
    return Qwen3ForTokenClassification(config)


class Learner:
    """A policy and its critic, with what trains both."""

    def __init__(self, network: Network, objective: Objective = SEVERAL, **critic: Any) -> None:
        self.policy, self.network = micro_model(), value_network(network)
        self.objective = objective
        accelerator = Accelerator(cpu=True)
        settings = Settings(network=network, **critic)
        self.critic = Critic(settings, self.network, Optimizer(adamw_lr=0.01), objective, accelerator)
        sgd = torch.optim.SGD(self.policy.parameters(), lr=0.1)
        rate = Optimizer(adamw_lr=0.1, max_grad_norm=100.0)
        self._update = PolicyUpdate(
            self.policy, micro_model(), sgd, accelerator, objective, rate, 1.0, self.critic, False
        )

    def train(self, its: list[Row], tokens: int = 10_000, policy_trains: bool = True) -> dict[str, float]:
        dealt = minibatches(its, self.objective, tokens, critic=True)
        return self._update.run(dealt, policy_trains)


def assert_same_weights(first: nn.Module, second: nn.Module, tolerance: float) -> None:
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_values_are_of_the_state_before_each_token(network: Network) -> None:
    learner = Learner(network)
    # Of different lengths, by which the batch is sorted.
    its = list({len(row): row for row in rows(8)}.values())
    (part,) = minibatches(its, Objective(), 10_000, critic=True)
    (batch,) = part.micro_batches
    hidden = token_outputs(learner.policy, batch, 1.0, with_hidden=network == "head").hidden
    values = learner.critic.values(batch, hidden)
    for index, row in enumerate(sorted(its, key=len)):
        prompt, reply = row.rollout.request.prompt_ids, row.rollout.token_ids
        ids = torch.tensor([prompt + reply])
        if network == "head":
            alone = learner.network(learner.policy.model(input_ids=ids).last_hidden_state)
        else:
            alone = learner.network(input_ids=ids).logits
        sampled = ~torch.tensor(row.rollout.inserted)
        expected = alone[0, len(prompt) - 1 : -1, 0][sampled]
        torch.testing.assert_close(values[index][batch.mask[index]], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_micro_batches_do_not_change_an_update(network: Network) -> None:
    settings = SEVERAL.model_copy(update={"kl": SEVERAL.kl.model_copy(update={"coefficient": 0.1})})
    whole, parts = (Learner(network, settings, kl_in_reward=True) for _ in range(2))
    metrics = whole.train(rows(12))
    for name, value in parts.train(rows(12), tokens=60).items():
        assert value == pytest.approx(metrics[name], abs=1e-4), name
    assert metrics["value/clip"] >= 0
    assert metrics["advantage/std"] > 0
    assert_same_weights(whole.policy, parts.policy, 1e-5)
    assert_same_weights(whole.network, parts.network, 5e-4)
    moved = max(
        float((one - other).detach().abs().max())
        for one, other in zip(whole.network.parameters(), value_network(network).parameters(), strict=True)
    )
    assert moved > 0.01


def test_an_update_follows_the_policys_and_the_values_common_loss() -> None:
    """PPO, eq. 9: the layers learn from both, here by plain gradient descent with a rate of 0.1."""
    settings = Objective(normalisation="token", correction="none")
    learner = Learner("head", settings, coefficient=0.5, whiten=False, lam=0.9)
    learner.train(rows(6))

    policy, head = micro_model(), value_network("head")
    (part,) = minibatches(rows(6), settings, 10_000, critic=True)
    (batch,) = part.micro_batches
    outputs = token_outputs(policy, batch, 1.0, with_hidden=True)
    assert outputs.hidden is not None
    values = head(outputs.hidden).squeeze(-1)
    advantages = gae(token_rewards(batch.rewards, batch.mask), values.detach(), batch.mask, 1.0, 0.9)
    surrogate = (outputs.logprobs - outputs.logprobs.detach()).exp() * advantages
    errors = (values - (advantages + values.detach())).square()
    loss = torch.where(batch.mask, 0.5 * errors - surrogate, 0.0).sum() / batch.mask.sum()
    loss.backward()
    for trained, before in zip(learner.policy.parameters(), policy.parameters(), strict=True):
        assert before.grad is not None
        torch.testing.assert_close(trained, before - 0.1 * before.grad, atol=1e-6, rtol=0)
    assert float(head.weight.grad.abs().max()) > 0


@pytest.mark.parametrize("mask_truncated", [False, True])
def test_rollouts_left_out_teach_the_critic_nothing(mask_truncated: bool) -> None:
    """With mask_truncated what a rollout that ran into max_tokens was worth does not matter; else it does."""
    settings = SEVERAL.model_copy(update={"mask_truncated": mask_truncated})
    plain, other = Learner("model", settings), Learner("model", settings)
    its = rows(12)
    plain.train(its)
    other.train([replace(row, reward=9.0) if row.rollout.finish_reason == "length" else row for row in its])
    same = all(
        torch.equal(one, two)
        for one, two in zip(plain.network.parameters(), other.network.parameters(), strict=True)
    )
    assert same == mask_truncated


@pytest.mark.parametrize("network", NETWORKS)
def test_a_warm_up_trains_the_critic_alone(network: Network) -> None:
    learner = Learner(network, value_lam=1.0, value_clip=None)
    its = rows(12)
    metrics = [learner.train(its, policy_trains=False) for _ in range(12)]
    assert metrics[-1]["value/loss"] < 0.8 * metrics[0]["value/loss"]
    assert metrics[-1]["value/explained_variance"] > metrics[0]["value/explained_variance"]
    assert_same_weights(learner.policy, micro_model(), 0.0)
    learner.train(its)
    assert not torch.equal(learner.policy.model.norm.weight, micro_model().model.norm.weight)


@torch.no_grad()
def sample(policy: nn.Module, count: int, tokens: int) -> list[Row]:
    """Replies of the micro model to one prompt, worth the share of their tokens that are even."""
    ids = torch.tensor([[1, 2, 3]]).repeat(count, 1)
    logprobs = []
    for _ in range(tokens):
        scores = policy(input_ids=ids).logits[:, -1].log_softmax(-1)
        drawn = scores.exp().multinomial(1)
        ids, logprobs = torch.cat([ids, drawn], dim=1), [*logprobs, scores.gather(1, drawn)]
    made = []
    for number, (reply, its) in enumerate(zip(ids[:, 3:], torch.cat(logprobs, dim=1), strict=True)):
        rollout = Rollout(
            request=RolloutRequest((1, 2, 3), MAX_TOKENS, number),
            token_ids=tuple(reply.tolist()),
            logprobs=tuple(its.tolist()),
            inserted=(False,) * tokens,
            versions=(0,) * tokens,
            thinking_tokens=tokens,
            stop_cause="natural",
            finish_reason="stop",
        )
        made.append(Row(rollout, 0.0, float((reply % 2 == 0).float().mean())))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_rewards_rise(network: Network) -> None:
    learner = Learner(network, value_lam=1.0)
    rewards = []
    for _ in range(12):
        replies = sample(learner.policy, 64, 6)
        rewards.append(sum(row.reward for row in replies) / len(replies))
        learner.train(replies)
    assert rewards[0] < 0.6
    assert rewards[-1] > 0.8, rewards


def opened(path: Path | None, network: Network = "model") -> nn.Module:
    settings = Settings(network=network, path=path)
    critic = open_critic(
        settings,
        Optimizer(adamw_lr=0.1),
        Objective(),
        Model(path=rl_runs.DEFAULT_MODEL),
        micro_model(),
        Path(rl_runs.DEFAULT_MODEL),
        Accelerator(cpu=True),
    )
    return critic._network


def test_a_critic_begins_with_values_of_0_or_a_reward_model(tmp_path: Path) -> None:
    ids = torch.arange(1, 9)[None]
    fresh = opened(None).train()
    assert not fresh(input_ids=ids).logits.any()
    assert not opened(None, "head")(torch.ones(3, 32)).any()
    judge = AutoModelForSequenceClassification.from_pretrained(
        rl_runs.DEFAULT_MODEL, num_labels=1, dtype=torch.float32
    )
    judge.config.pad_token_id = 0
    judge.save_pretrained(tmp_path / "judge")
    for file in Path(rl_runs.DEFAULT_MODEL).glob("*token*"):
        (tmp_path / "judge" / file.name).write_bytes(file.read_bytes())
    begun = opened(tmp_path / "judge").train()
    torch.testing.assert_close(begun(input_ids=ids).logits[:, -1], judge(input_ids=ids).logits)
    other = load_tokenizer(Path(rl_runs.DEFAULT_MODEL))
    other.add_tokens(["another"])
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"critic\.path: .*other' is wrong because its tokens are not those"):
        opened(tmp_path / "other")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"critic": None}, "group_size: 1 is wrong .* give 2 or more, or a critic"),
        ({"objective": {"advantage_std": True}}, "objective.advantage_std: true is wrong"),
        ({"objective": {"ratio": "sequence"}}, "objective.ratio: 'sequence' is wrong"),
        (
            {"objective": {"loss": "squared", "tau": 0.1}},
            "objective.loss: 'squared' is wrong",
        ),
        ({"rollouts": rl_runs.STAGE["rollouts"] | {"refill": 2}}, "rollouts.refill: 2 is wrong"),
        (
            {"critic": {"kl_in_reward": True}},
            "critic.kl_in_reward: true is wrong because objective.kl",
        ),
        (
            {"critic": {"kl_in_reward": True}, "objective": {"kl": {"coefficient": 0.1}}},
            "objective.kl.estimator: 'k3' is wrong",
        ),
        ({"critic": {"warmup_steps": 6}}, "critic.warmup_steps: 6 is wrong because the stage has 6 steps"),
        ({"critic": {"path": "a/b"}}, "path: 'a/b' is wrong because a head"),
        ({"critic": {"optimizer": {"adamw_lr": 1.0, "muon_lr": 1.0}}}, "optimizer.muon_lr: 1.0 is wrong"),
        ({"critic": {"network": "model", "coefficient": 0.5}}, "coefficient: 0.5 is wrong"),
        ({"rewards": [{"name": "correctness"}, {"name": "length"}]}, "rewards.length: is wrong"),
        (
            {"rewards": [{"name": "judge", "options": {"form": "compare"}}]},
            "rewards.judge: is wrong because it compares",
        ),
        ({"collapse": {"zero_variance": 0.9}}, "collapse.zero_variance: 0.9 is wrong"),
    ],
)
def test_what_cannot_matter_is_refused(members: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        rl_runs.recipe(**{"critic": {}, "group_size": 1} | members)


def members(network: Network) -> dict[str, Any]:
    """A stage with one reply to a prompt, rewards shaped by the KL, and four updates in a step."""
    return {
        "steps": 4,
        "prompts_per_step": 8,
        "group_size": 1,
        "critic": {"network": network, "kl_in_reward": True, "warmup_steps": 1},
        "objective": {
            "epochs": 2,
            "minibatches": 2,
            "normalisation": "token",
            "kl": {"estimator": "k1", "coefficient": 0.05},
        },
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[Network, Path]:
    """Both kinds of critic, trained on one process without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    runs = {network: folder / network for network in NETWORKS}
    for network, run in runs.items():
        run_stage(rl_runs.context(run, **members(network)))
    return runs


def critic_state(run: Path, network: Network) -> list[torch.Tensor]:
    """The critic's weights in the last state."""
    name = "custom_checkpoint_0.pkl" if network == "head" else "pytorch_model_1.bin"
    return list(torch.load(run / "rl" / "state" / "step-00000004" / name).values())


def assert_same_run(first: Path, second: Path, network: Network, tolerance: float) -> None:
    rl_runs.assert_same_run(first, second, tolerance)
    weights, others = critic_state(first, network), critic_state(second, network)
    assert any(tensor.any() for tensor in weights)
    for one, other in zip(weights, others, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_stopped_stage_resumes_with_its_critic(
    whole: dict[Network, Path], network: Network, tmp_path: Path
) -> None:
    """The third step is lost: the last state is of the second."""
    loop = RLLoop(rl_runs.context(tmp_path, **members(network)))
    for step in loop.steps():
        if step == 3:
            break
    loop.close()
    run_stage(rl_runs.context(tmp_path, **members(network)))
    assert_same_run(whole[network], tmp_path, network, 1e-5)
    # What vLLM loads is the policy alone.
    names = rl_runs.weights(tmp_path).keys()
    assert names
    assert not [name for name in names if "score" in name or "head.bias" in name]


@pytest.mark.slow
def test_two_processes_train_a_critic_as_one(whole: dict[Network, Path], tmp_path: Path) -> None:
    rl_runs.run_on_two_processes({tmp_path / network: members(network) for network in NETWORKS})
    for network in NETWORKS:
        assert_same_run(whole[network], tmp_path / network, network, 1e-4)


def test_groups_of_one_log_what_a_critic_has_to_say(whole: dict[Network, Path]) -> None:
    for run in whole.values():
        first, *later = rl_runs.records(run / "rl")
        assert {"value/loss", "value/clip", "value/explained_variance", "advantage/std"} <= first.keys()
        assert not {"group/zero_variance", "reward/deviation"} & first.keys()
        # A critic that begins with 0 explains nothing, and the first step is a warm-up.
        assert (first["value/mean"], first["value/explained_variance"]) == (0, 0)
        assert (first["ratio/max"], first["kl"]) == pytest.approx((1, 0), abs=1e-6)
        assert later[-1]["ratio/max"] > 1
        assert later[-1]["value/mean"] != 0
