"""One optimizer of two: it trains every parameter, obeys the schedule and restores its state exactly."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from serve import DEFAULT_MODEL
from trainer.optimizers import MuonWithAdamW, build_optimizer, learning_rate_scale, set_learning_rate
from trainer.recipe.model import Optimizer

BOTH = Optimizer(adamw_lr=0.003, muon_lr=0.02, weight_decay=0.01)


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    model(input_ids=torch.randint(0, 500, (2, 8)), labels=torch.randint(0, 500, (2, 8))).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("settings", [BOTH, Optimizer(adamw_lr=0.003)])
def test_every_parameter_is_trained_and_the_state_restores_exactly(settings: Optimizer) -> None:
    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, settings)
    step(model, optimizer, 1)
    assert not any(torch.equal(before[name], weights) for name, weights in model.state_dict().items())

    other = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
    other.load_state_dict(model.state_dict())
    resumed = build_optimizer(other, settings)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, its in ((model, optimizer), (other, resumed)):
        set_learning_rate(its, 0.9, settings)
        step(each, its, 2)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, other.state_dict()[name]), name


def test_muon_has_the_layers_matrices_alone() -> None:
    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
    optimizer = build_optimizer(model, BOTH)
    assert isinstance(optimizer, MuonWithAdamW)
    muon = {id(weights) for group in optimizer.muon.param_groups for weights in group["params"]}
    assert muon == {id(weights) for weights in model.model.layers.parameters() if weights.ndim == 2}


def test_a_rate_that_is_set_reaches_both() -> None:
    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, Optimizer(adamw_lr=0.003, muon_lr=0.02))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    step(model, optimizer, 1)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, before[name]), name


def test_the_rate_rises_holds_and_falls_to_nothing() -> None:
    settings = Optimizer(adamw_lr=1.0, warmup=0.1, decay=0.5)
    scales = [learning_rate_scale(progress, settings) for progress in (0.0, 0.05, 0.2, 0.5, 0.75, 0.999)]
    assert scales == pytest.approx([0.01, 0.51, 1.0, 1.0, 0.5, 0.002])
