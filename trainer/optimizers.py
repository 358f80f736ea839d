"""The optimizer of a stage, and how its learning rate rises and falls."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trainer.recipe.model import Optimizer


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) on the layers' matrices, AdamW on embeddings, head and norms, as one.

    Its `param_groups` are those of the two, so that schedulers and accelerate see one optimizer.
    """

    def __init__(self, matrices: list[nn.Parameter], others: list[nn.Parameter], settings: Optimizer) -> None:
        assert settings.muon_lr is not None
        self.muon = torch.optim.Muon(matrices, lr=settings.muon_lr, weight_decay=settings.weight_decay)
        self.adamw = _adamw(others, settings)
        super().__init__([*self.muon.param_groups, *self.adamw.param_groups], {})
        # The base class copies the groups: both optimizers must see what is set in these ones.
        self.muon.param_groups, self.adamw.param_groups = self.param_groups[:1], self.param_groups[1:]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of both."""
        loss = None if closure is None else closure()
        self.muon.step()
        self.adamw.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The two optimizers' states."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]


def build_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """The optimizer over the model's trainable parameters: AdamW, or with `muon_lr` Muon with AdamW.

    Each group's `initial_lr` is its peak, which `set_learning_rate` scales.
    """
    trained = [(name, weights) for name, weights in model.named_parameters() if weights.requires_grad]
    matrices = [weights for name, weights in trained if weights.ndim == 2 and ".layers." in name]
    chosen = {id(weights) for weights in matrices}
    others = [weights for _, weights in trained if id(weights) not in chosen]
    optimizer: torch.optim.Optimizer
    if settings.muon_lr is None:
        optimizer = _adamw([weights for _, weights in trained], settings)
    else:
        optimizer = MuonWithAdamW(matrices, others, settings)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def optimizer_with_schedule(
    model: nn.Module, settings: Optimizer, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """`build_optimizer` and the schedule of its learning rates over so many steps, for TRL's trainers."""
    optimizer = build_optimizer(model, settings)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_scale(step / steps, settings)
    )


def learning_rate_scale(progress: float, settings: Optimizer) -> float:
    """The learning rate's share of its peak at `progress` in [0, 1): warm-up, constant, linear decay."""
    rising = (progress + 1e-3) / settings.warmup if settings.warmup else 1.0
    falling = (1 - progress) / settings.decay if settings.decay else 1.0
    return min(1.0, rising, falling)


def set_learning_rate(optimizer: torch.optim.Optimizer, progress: float, settings: Optimizer) -> float:
    """Set every group's rate for `progress` in [0, 1); returns the share of the peak."""
    scale = learning_rate_scale(progress, settings)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * scale
    return scale


def reset_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Forget what its updates have gathered, moments and step counts; rates and groups stay."""
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper holds the optimizer itself
    for part in (inner.muon, inner.adamw) if isinstance(inner, MuonWithAdamW) else (inner,):
        part.state.clear()


def _adamw(weights: list[nn.Parameter], settings: Optimizer) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        weights, lr=settings.adamw_lr, betas=settings.betas, weight_decay=settings.weight_decay
    )
