"""A rollout as the text that rewards read."""

from typing import Any

from evals.problems import Problem
from serve.formats import ThinkingFormat
from serve.prompts import prompt_state
from trainer.completion import Completion
from trainer.rollouts.types import Rollout


def to_completion(
    rollout: Rollout, problem: Problem, thinks: bool, tokenizer: Any, form: ThinkingFormat
) -> Completion:
    """The rollout as text. thinks: whether its prompt asks for thinking.

    thinking is the text of all blocks, joined by line feeds; answer is what follows the last one. A block
    that the prompt opened counts as opened; one that never closes leaves no answer. The end-of-turn token is
    no text.
    """
    request = rollout.request
    thinking = prompt_state(request.prompt_ids, form) == "thinking"
    blocks: list[list[int]] = [[]] if thinking else []
    answer: list[int] = []
    kept = [token for token in rollout.token_ids if token not in form.turn_end_ids]
    for token in kept:
        if not thinking and token == form.open_id:
            thinking = True
            blocks.append([])
            answer = []
        elif thinking and token == form.close_id:
            thinking = False
        elif thinking:
            blocks[-1].append(token)
        else:
            answer.append(token)

    def text(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=False)

    return Completion(
        problem=problem,
        thinks=thinks,
        reply=text(kept),
        thinking="\n".join(text(block).strip("\n") for block in blocks) if blocks else None,
        answer=text(answer),
        tokens=len(rollout.token_ids) - sum(rollout.inserted),
        thinking_tokens=rollout.thinking_tokens,
        max_tokens=request.max_tokens,
        budget=request.budget,
        stop_cause=rollout.stop_cause,
        finish_reason=rollout.finish_reason,
    )
