"""How a reply goes on after something was inserted or barred, whatever engine generates it. Pure."""

import random

BARRED = -100.0
"""Logit bias of a token that may not be written."""


def continued_seed(seed: int, done: int) -> int:
    """Seed of the request that goes on after `done` tokens of a reply whose first request has `seed`."""
    return random.Random(f"{seed}/{done}").getrandbits(63)
