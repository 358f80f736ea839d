"""What the tests run in a cage: obedient, slow, greedy, noisy and dying."""

import os
import signal
import sys
import time
from typing import Any


def act(what: str, value: Any = None) -> Any:
    """Do as told; what works gives a value back."""
    match what:
        case "echo":
            return value
        case "sleep":
            time.sleep(value)
        case "spin":
            while True:
                pass
        case "one long C call":  # never lets go of the interpreter's lock
            return 7**7**9
        case "hog":
            return len(bytearray(value))
        case "hog in C":
            return 7 << value
        case "raise":
            raise ValueError(value)
        case "recurse":
            return act("recurse", [value])
        case "exit":
            os._exit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "noise":
            print("noise" * 10_000, flush=True)
            print("noise" * 10_000, file=sys.stderr, flush=True)
            os.write(1, b"noise" * 10_000)
        case "processes":
            return [os.getpid(), os.getppid()]
        case "open files":
            return [os.readlink(f"/proc/self/fd/{n}") for n in range(3)] + os.listdir("/proc/self/fd")[3:]
        case "environment":
            return dict(os.environ)
        case "power of ten":
            return 10**value
        case "blanks":
            return " " * value
        case "unspeakable":
            return object()
        case "write":
            with open(value, "w") as file:
                file.write("written")
    return value
