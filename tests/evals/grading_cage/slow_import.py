"""A module that takes a while to import, as sympy does."""

import time

time.sleep(0.6)


def double(value: int) -> int:
    return 2 * value
