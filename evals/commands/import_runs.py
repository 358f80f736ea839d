"""`thinkdial eval import`: make a run of what lm-eval, inspect or Qwen's harnesses wrote."""

import argparse
import sys
from pathlib import Path

from evals.budgets import Budget, parse_budgets
from evals.commands.command import WRONG_USAGE, fail
from evals.commands.report import write

_SHOWN = 5


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "import",
        help="make a run of another harness's results",
        description="Make a run directory of lm-eval's samples_*.jsonl, inspect's .eval or .json logs, or "
        "JSONL files of {prompt, answer, gen: [...]}, and write its report. Several files of one budget are "
        "further samples; scores of the other harness are kept beside the replies.",
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE[=BUDGET]", help="with its budget, where the file does not tell it"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="run directory")
    parser.add_argument("--budget", help="of files that do not tell theirs (max)")
    parser.add_argument("--model", metavar="NAME", help="who replied, where the files do not tell")
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="score to keep: METRIC or METRIC,FILTER of lm-eval, a scorer of inspect",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Import, and write the report."""
    from evals.bridges.import_runs import import_runs

    try:
        made = import_runs(
            [_file(text) for text in options.files],
            options.out,
            budget=None if options.budget is None else _budget(options.budget),
            model=options.model,
            metric=options.metric,
        )
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    print(
        f"{made.replies} replies to {made.problems} problems at {', '.join(map(str, made.budgets))}; "
        f"{made.scored} with a score",
        file=sys.stderr,
    )
    for words in made.failed[:_SHOWN]:
        print(f"no reply: {words}", file=sys.stderr)
    if len(made.failed) > _SHOWN:
        print(f"no reply: {len(made.failed) - _SHOWN} more", file=sys.stderr)
    return write(options.out, failed=False)


def _file(text: str) -> tuple[Path, Budget | None]:
    path, _, budget = text.rpartition("=")
    if Path(text).exists() or not path:
        return Path(text), None
    return Path(path), _budget(budget)


def _budget(text: str) -> Budget:
    budgets = parse_budgets(text)
    if len(budgets) != 1:
        raise ValueError(f"budget: {text!r} is {len(budgets)} budgets; a file has one")
    return budgets[0]
