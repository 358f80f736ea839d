"""Whether a reply has the form that was asked for."""

from collections.abc import Sequence
from typing import ClassVar

from evals.grading import last_boxed
from serve.formats import CLOSE, OPEN
from trainer.completion import Completion
from trainer.recipe.section import Section
from trainer.rewards.terms import Range, Tags


class Format(Section):
    """1 for a well-formed reply, else 0 (DeepSeek-R1, section 2.2.2, format rewards).

    Asked to think: the reply is exactly one thinking block, opened at its beginning (by the reply, or by the
    prompt) and closed once, and an answer that is not empty. Asked not to: no block or an empty one, and an
    answer. No tag inside thinking or answer. With `boxed`, the answer also holds a complete `\\boxed{}`.
    """

    boxed: bool = False
    tags: Tags = Tags(OPEN, CLOSE)

    right: ClassVar[Range] = Range(0.0, 1.0)
    wrong: ClassVar[Range] = Range(0.0, 1.0)

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        return [float(self._well_formed(completion)) for completion in group]

    def _well_formed(self, completion: Completion) -> bool:
        thinking, answer = completion.thinking, completion.answer
        marks = (self.tags.open, self.tags.close)
        if not answer.strip() or any(mark in text for mark in marks for text in (thinking or "", answer)):
            return False
        reply = completion.reply
        # With no tag in thinking and answer, one closing tag means one block.
        if reply.count(self.tags.close) != (thinking is not None):
            return False
        if self.tags.open in reply and not reply.lstrip().startswith(self.tags.open):
            return False
        if completion.thinks != has_thinking(completion):
            return False
        return not self.boxed or last_boxed(answer) is not None


class ModeFollowing(Section):
    """1 if the reply thinks exactly when the prompt asks for it, else 0 (Qwen3 report, section 4.4).

    An empty block is no thinking. Reasoning written into the answer is not seen.
    """

    right: ClassVar[Range] = Range(0.0, 1.0)
    wrong: ClassVar[Range] = Range(0.0, 1.0)

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        return [float(completion.thinks == has_thinking(completion)) for completion in group]


def has_thinking(completion: Completion) -> bool:
    """Whether there is any text between the tags."""
    return bool(completion.thinking and completion.thinking.strip())
