"""An example: a problem, and where the source has one, a worked reply to it."""

from dataclasses import dataclass

from evals.problems import Problem


@dataclass(frozen=True, slots=True)
class Example:
    """A problem to train on.

    thinking: what stands between the tags, without them and the line feeds beside them; None where the source
    has no thinking. response: what follows the thinking; None where the source has only an answer.
    The prompt is `problem.messages` where it has any, else `problem.problem` as one user turn.
    """

    problem: Problem
    thinking: str | None = None
    response: str | None = None
