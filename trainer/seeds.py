"""Every random choice as a function of what it is for, so that resuming needs no generator's state."""

import hashlib
import random


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^31) that depends on all `parts` and is the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def derive_rng(*parts: int | str) -> random.Random:
    """A generator seeded by `parts`."""
    return random.Random(derive_seed(*parts))
