"""How a failure is measured: on which held-out problems, with how many replies."""

from pydantic import Field

from trainer.recipe.section import Section


class Failure(Section):
    """What `thinkdial train failure` asks of every checkpoint it looks at, at temperature 1."""

    problems: str = "thinkmath"
    limit: int = Field(default=100, ge=4)
    """The first problems of the set."""
    samples: int = Field(default=16, ge=2)
    """Replies to each problem."""
    best_of: int = Field(default=64, ge=2)
    """Replies to each problem of the checkpoint that all arms begin with, for best-of-n."""
