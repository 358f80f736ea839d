"""Child processes that end with their parent."""

import ctypes
import signal

PR_SET_PDEATHSIG = 1


def end_with_parent(how: signal.Signals = signal.SIGTERM) -> None:
    """In the child: have the kernel send a signal when the parent dies, however it dies (prctl(2), Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)
