"""`thinkdial train`: run recipes, look at what they train on, and measure what they made."""

import argparse
import os
import sys
from collections.abc import Sequence

from trainer.commands import ablation, curate, doctor, run, study, traces

_COMMANDS = (run, doctor, traces, curate, ablation, study)
_EXAMPLE = """example:
  thinkdial train run trainer/recipes/tiny.toml --out runs/tiny
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `thinkdial train ARGV`; returns 0, 1 (it failed), 2 (wrong usage) or 130 (interrupted)."""
    options = _parser().parse_args(list(sys.argv[1:] if argv is None else argv))
    # Read when a command imports torch: threads that spin while they wait slow down whoever shares the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thinkdial train",
        description="Make a fused think / no_think checkpoint.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
