"""`thinkdial serve` that tells what it keeps of requests, and whose wall clock jumps by hours all the time.

On SIGUSR1 it writes the counts, as JSON, to the file that the environment variable WATCHED names.
"""

import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

_time, _time_ns = time.time, time.time_ns


def _jump() -> int:
    """Seconds that the wall clock is wrong by: an hour fast, and a tenth of a second later an hour slow."""
    return 3600 if int(time.monotonic() * 10) % 2 else -3600


time.time = lambda: _time() + _jump()
time.time_ns = lambda: _time_ns() + _jump() * 10**9

# After the clock, which they take by name.
from serve import cli  # noqa: E402


def kept() -> dict[str, int]:
    """How many entries each map has that holds something of a request which runs."""
    from serve.engine import ThinkingEngine
    from serve.limits import Admission
    from serve.live import LIVE_REQUESTS

    gc.unfreeze()  # vLLM takes what is there after the start out of the collector's sight
    gc.collect()
    objects = gc.get_objects()
    (engine,) = [it for it in objects if type(it) is ThinkingEngine]
    (admission,) = [it for it in objects if type(it) is Admission]
    processor = engine.output_processor
    return {
        "states": len(processor.request_states),
        "parents": len(processor.parent_requests),
        "ids": len(processor.external_req_ids),
        "queues": len(engine._queues),
        "ranks": len(engine._ranks),
        "early": len(engine._early),
        "live": len(LIVE_REQUESTS._requests),
        "admitted": admission._running,
    }


def tell(number: int, frame: FrameType | None) -> None:
    path = Path(os.environ["WATCHED"])
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(kept()), encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    sys.exit(cli.main())
