"""How commands are told on which problems, and at which budgets, checkpoints are measured."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.recipe.recipe import Ablation

BUDGETS = "8,16,24,32,48,64"


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """Declare --problems, --limit, --budgets and --max-tokens."""
    parser.add_argument("--problems", metavar="SET", help="see thinkdial eval problems (thinkmath)")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N problems (500)")
    parser.add_argument("--budgets", metavar="B", help=f"thinking tokens beside off and no limit ({BUDGETS})")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="of a reply (what the context holds)")


def measuring(options: argparse.Namespace, recipe: "Ablation | None", **others: object) -> "Ablation":
    """What the options say; what they do not say is the recipe's, or else the default.

    others: further members, None where they are not given. Raises ValueError for what cannot be measured.
    """
    from trainer.recipe.recipe import Ablation

    given = {
        "problems": options.problems,
        "limit": options.limit,
        "budgets": None if options.budgets is None else _tokens(options.budgets),
        "max_tokens": options.max_tokens,
        **others,
    }
    defaults: dict[str, object] = {"budgets": _tokens(BUDGETS)} if recipe is None else recipe.model_dump()
    changes = {name: value for name, value in given.items() if value is not None}
    return Ablation.model_validate(defaults | changes)


def _tokens(text: str) -> list[int]:
    """Budgets in tokens. Raises ValueError for others."""
    from evals.budgets import parse_budgets

    tokens: list[int] = []
    for budget in parse_budgets(text):
        if isinstance(budget, int):
            tokens.append(budget)
        elif budget != "max":
            raise ValueError(
                f"budgets: {budget} is no number of tokens; give numbers: half of each trace, where it is "
                "measured, is measured anyway"
            )
    return [budget for budget in tokens if budget > 0]
