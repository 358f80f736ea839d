"""Cut a trace where a server with a thinking budget would, by token ids.

Cutting does not change what came before the cut, so the first b thinking tokens of one uncut trace
are those of a run with budget b. The ids are kept, never re-tokenised.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clients import ThinkingFormat, ThinkingReport


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut reply: its first `kept` tokens, then the early-stop text if a thinking block is open there.

    It is not when the budget was used up by an earlier block and the forbidden token opens another.
    thinking: how many of the kept tokens are thinking.
    """

    kept: int
    inserts: bool
    thinking: int


def thinking_positions(token_ids: Sequence[int], format: ThinkingFormat, ended: bool) -> list[int]:
    """Indices of the thinking tokens in a reply: those after an open tag and before its close tag.

    Several thinking blocks count together, as a budget counts them. ended: the reply ended by itself, so
    that its last token is the end of turn, which is no thinking.
    """
    positions = []
    thinking = format.opened_by == "template"
    for index, token in enumerate(token_ids):
        if token == format.close_id:
            thinking = False
        elif ended and index == len(token_ids) - 1:
            break
        elif thinking:
            positions.append(index)
        elif token == format.open_id:
            thinking = True
    return positions


def cut_at(token_ids: Sequence[int], budget: int, format: ThinkingFormat, ended: bool) -> Cut | None:
    """Where `budget` cuts an uncut reply; None when its thinking ends within the budget.

    Thinking as long as the budget is not cut. Raises ValueError for a budget below 1: a reply without
    thinking has another prompt, and is no cut of this trace.
    """
    if budget < 1:
        raise ValueError(f"budget: {budget} cannot be cut from a trace; 1 or more can")
    positions = thinking_positions(token_ids, format, ended)
    if len(positions) <= budget:
        return None
    if positions[budget] == positions[budget - 1] + 1:
        return Cut(positions[budget], inserts=True, thinking=budget)
    between = token_ids[positions[budget - 1] + 1 : positions[budget]]
    return Cut(positions[budget - 1] + 1 + between.index(format.open_id), inserts=False, thinking=budget)


def answer_start(
    token_ids: Sequence[int], report: ThinkingReport, format: ThinkingFormat, ended: bool
) -> int:
    """Index of the first token after thinking, checked against what the server reports.

    Raises RuntimeError when report and token ids disagree: numbers from such a server mean nothing.
    """
    if report.stop_cause == "disabled":
        return 0
    positions = thinking_positions(token_ids, format, ended)
    if report.stop_cause == "budget":
        end = positions[report.tokens - 1] + 1 if 0 < report.tokens <= len(positions) else 0
        start = end + len(format.stop_ids)
        if list(token_ids[end:start]) != format.stop_ids:
            raise RuntimeError(
                f"the server reports a cut after {report.tokens} thinking tokens, "
                "but its early-stop text does not follow them in token_ids"
            )
        return start
    if len(positions) != report.tokens:
        raise RuntimeError(
            f"the server reports {report.tokens} thinking tokens where its token_ids hold {len(positions)}"
        )
    closes = [index for index, token in enumerate(token_ids) if token == format.close_id]
    if positions and (not closes or closes[-1] < positions[-1]):
        return len(token_ids)
    return closes[-1] + 1 if closes else 0
