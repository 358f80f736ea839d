"""The processes that train together."""

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def join_processes() -> PartialState:
    """Join the others that `accelerate launch` or `torchrun` started; call it before anything of accelerate.

    On a CPU, where gradients go by gloo, accelerate looks for others only if it is told to use one.
    """
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())
