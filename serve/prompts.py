"""Where a prompt leaves its model: before thinking, within, or after. Token ids in, a state out."""

from collections.abc import Sequence
from typing import Literal

from serve.formats import ThinkingFormat

PromptState = Literal["fresh", "thinking", "answering", "disabled"]


def prompt_state(prompt_ids: Sequence[int], form: ThinkingFormat) -> PromptState:
    """Where a prompt leaves the model, seen from the last turn it holds.

    "thinking": inside an open block. "disabled": right after an empty block.
    "answering": after a block that holds thinking. "fresh": no block, or text after the last block.
    """
    after_close: list[int] = []
    closed = False
    inside: list[int] = []
    for token in reversed(prompt_ids):
        if token in form.turn_end_ids:
            return "fresh"
        if token == form.open_id:
            if not closed:
                return "thinking"
            if _is_blank(after_close, form):
                return "disabled" if _is_blank(inside, form) else "answering"
            return "fresh"
        if token == form.close_id and not closed:
            closed = True
        elif closed:
            inside.append(token)
        else:
            after_close.append(token)
    return "answering" if closed and _is_blank(after_close, form) else "fresh"


def _is_blank(reversed_ids: list[int], form: ThinkingFormat) -> bool:
    return not form.decode(tuple(reversed(reversed_ids)), skip_special_tokens=False).strip()
