"""`thinkdial train doctor`: what a recipe's stages train on, token by token, and what is wrong with it."""

import argparse
import sys

from trainer.commands.command import FAILED, WRONG_USAGE, fail
from trainer.commands.recipes import add_recipe, add_run_folder, read_recipe, run_folder

_EXAMPLE = """examples:
  thinkdial train doctor trainer/recipes/tiny.toml
  thinkdial train doctor trainer/recipes/qwen3-0.6b.toml --stage fusion --rows 5
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "doctor",
        help="show what a recipe trains on, token by token, and what is wrong with it",
        description="Print rows of each stage with their prompts, trained and inserted tokens and branches, "
        "and diagnose mistakes in the chat template, the tokenizer and the rows. "
        "The exit status is 1 if there are any.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_recipe(parser)
    add_run_folder(parser)
    parser.add_argument(
        "--stage", action="append", default=[], metavar="NAME", help="this stage only (repeat)"
    )
    parser.add_argument("--rows", type=int, default=2, metavar="N", help="rows shown of each stage (2)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print rows and findings; 1 if there are findings."""
    try:
        recipe = read_recipe(options)
        names = [stage.name for stage in recipe.stages]
        unknown = [name for name in options.stage if name not in names]
        if unknown:
            raise ValueError(f"--stage: {unknown[0]!r} is no stage of the recipe; give one of {names}")
        if options.rows < 0:
            raise ValueError(f"--rows: {options.rows} is below 0; give 0 or more")
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)

    from trainer.doctor import examine

    colours = sys.stdout.isatty()
    findings: dict[str, list[str]] = {}
    try:
        for item in examine(recipe, run_folder(options), options.stage, options.rows, colours):
            if isinstance(item, str):
                print(item)
            else:
                where = "" if item.row is None else f"row {item.row}: "
                findings.setdefault(item.code, []).append(where + item.message)
    except ValueError as error:
        return fail(str(error), FAILED)
    print()
    for code, messages in findings.items():
        more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
        print(f"{code}: {messages[0]}{more}")
    print(f"{len(findings)} kinds of mistakes found" if findings else "nothing wrong found")
    return FAILED if findings else 0
