"""A benchmark that measures nothing: `python -m tests.house.made_benchmark NAME --out DIR`."""

import argparse
import sys
import time
from pathlib import Path

from serve.bench.results import Figure, Ratio, write_result

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--ratio", type=float)
    parser.add_argument("--better", default="higher")
    parser.add_argument("--status", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.ratio is None:
        print("nothing to measure")
        sys.exit(options.status)
    ratio = Ratio(
        "speed", "ours", "peer", options.ratio, options.ratio, options.ratio, "made", options.better
    )
    figures = [Figure("<b>figure</b>", "1 s")]
    write_result(options.out, options.name, {"at": str(time.time())}, ratios=[ratio], figures=figures)
