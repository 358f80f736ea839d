"""One problem with a verifiable answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem as it is posed, and the answer it is graded against.

    `chance` is the accuracy of the best constant guess on problems of this kind, in [0, 1], where known.
    `set` is the name of the problem set: of a file, its name without the ending. `id` begins with it.
    `messages` are (role, text) turns to send instead of `problem`, where a task brings its own; () asks
    `problem` as the prompt preset says.
    """

    id: str
    problem: str
    answer: str
    level: int | str | None = None
    subject: str | None = None
    chance: float | None = None
    set: str = ""
    messages: tuple[tuple[str, str], ...] = ()
