"""What a reward model reads of a finished reply, as tokens."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from serve.formats import find_format
from trainer.completion import Completion
from trainer.examples import Example
from trainer.rows.conversation import problem_messages, render
from trainer.rows.replies import end_of_turn


class Reader:
    """Renders replies for one reward model as its pairs were: prompt, reply, and what ends the turn.

    The prompt asks for the mode that the reply was asked for, without flags, budgets and earlier turns.
    reads: `reply`, or `answer`: what follows the thinking, as the reply to a prompt that asks for none.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, folder: Path, reads: str) -> None:
        """folder: the checkpoint's, which may hold a thinking format. Raises ValueError as `end_of_turn`."""
        self._tokenizer, self._reads = tokenizer, reads
        self._form = find_format(tokenizer, folder)
        self._end = end_of_turn(tokenizer)

    def ids(self, completion: Completion) -> list[int]:
        """Its last token ends the turn, unless the reply was cut off by its limit."""
        text = completion.reply if self._reads == "reply" else completion.answer.lstrip("\n")
        end = self._end if completion.finish_reason == "stop" else ""
        reply = self._tokenizer.encode(text + end, add_special_tokens=False)
        return [*self._prompt(completion), *reply]

    def _prompt(self, completion: Completion) -> list[int]:
        messages = problem_messages(Example(completion.problem))
        if self._form is not None:
            return render(self._form, messages, self._reads == "reply" and self._thinks(completion))
        ids = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return list(ids)

    def _thinks(self, completion: Completion) -> bool:
        # Behind the flag /no_think the empty block is the reply's, not the prompt's.
        assert self._form is not None
        return completion.thinks or completion.reply.startswith(self._form.open)
