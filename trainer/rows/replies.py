"""Replies as token ids and loss weights: thinking, cut thinking and no thinking, in a model's own format.

Only what the model itself must write carries loss:

- *think*: the thinking and the response;
- *cut*: a branch after the first k thinking tokens; the early-stop text carries no loss, the response does;
- *no_think*: behind the hard switch the empty block is the template's and carries no loss; behind the soft
  switch `/no_think` the model writes the empty block, so it does (Qwen3 report, Table 9).
"""

from functools import cached_property, lru_cache

from transformers import PreTrainedTokenizerBase

from evals.grading.extract import boxes
from serve.formats import ThinkingFormat
from trainer.examples import Example
from trainer.rows.conversation import Conversation, prompt_ids, render
from trainer.rows.row import Row

ANSWER = "SO-IT-IS"


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that ends a reply: what the chat template writes after one.

    Raises ValueError if it writes none.
    """
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": ANSWER}], tokenize=False
    )
    after = tokenizer.encode(text.rpartition(ANSWER)[2], add_special_tokens=False)
    if not after or after[0] not in tokenizer.added_tokens_decoder:
        raise ValueError(
            f"chat_template: after a reply it writes {tokenizer.decode(after)!r}, which is no control token, "
            "so no reply would end; let it write the end-of-turn token there"
        )
    return str(tokenizer.added_tokens_decoder[after[0]])


class ReplyWriter:
    """Makes the rows of examples for one model.

    form: the model's thinking format. answer_weight: loss weight of the tokens inside the box of a response
    after a cut or without thinking; they alone are not predictable there.
    """

    def __init__(self, form: ThinkingFormat, answer_weight: float = 1.0) -> None:
        self.form = form
        self.answer_weight = answer_weight
        # A row's branches all end in its example's response.
        self._response = lru_cache(maxsize=4)(self._encode_response)

    @cached_property
    def end_of_turn(self) -> str:
        """The token that ends a reply; ValueError as `end_of_turn`."""
        return end_of_turn(self.form.tokenizer)

    def think_row(self, conversation: Conversation, example: Example) -> Row:
        """Thinking and response, all trained with weight 1."""
        form = self.form
        text = f"{form.open}\n{example.thinking}\n{form.close}\n\n{example.response}{self.end_of_turn}"
        if form.opened_by == "template":
            opened = form.template.opened_text
            text = text.removeprefix(opened if text.startswith(opened) else form.open)
        prompt, reply = prompt_ids(form, conversation), form.encode(text)
        weights = [0.0] * len(prompt) + [1.0] * len(reply)
        return Row([*prompt, *reply], weights, len(prompt), "think", conversation)

    def thinking_span(self, row: Row) -> tuple[int, int]:
        """First thinking token of a think row and the end of its thinking, the close tag's place."""
        begin = row.prompt + (0 if self.form.opened_by == "template" else 1)
        return begin, row.ids.index(self.form.close_id, row.prompt)

    def add_cut(self, row: Row, example: Example, cut: int) -> None:
        """Branch off a think row after `cut` thinking tokens: the early-stop text, then the response.

        The inserted text carries no loss.
        """
        fork = self.thinking_span(row)[0] + cut
        row.add_branch(fork, self.form.stop_ids, *self._response(example.response or ""), kind="cut")

    def add_no_think(self, row: Row, conversation: Conversation, example: Example) -> None:
        """Branch off a think row where the hard switch changes its prompt; the response follows at once."""
        off = render(self.form, conversation.messages, thinking=False)
        # The last token of the prompt is the branch's own, as a branch's first token carries no loss.
        most = min(row.prompt, len(off) - 1)
        fork = next((at for at in range(most) if row.ids[at] != off[at]), most)
        row.add_branch(fork, off[fork:], *self._response(example.response or ""), kind="no_think")

    def no_think_row(self, conversation: Conversation, example: Example) -> Row:
        """The response at once; behind the soft switch the empty block is the model's to write."""
        form = self.form
        prompt = prompt_ids(form, conversation)
        block: tuple[int, ...] = ()
        if conversation.soft_no_think:
            block = form.close_block_ids if form.opened_by == "template" else form.empty_block_ids
        reply, weights = self._response(example.response or "")
        return Row(
            [*prompt, *block, *reply],
            [0.0] * len(prompt) + [1.0] * len(block) + weights,
            len(prompt),
            "no_think",
            conversation,
        )

    def _encode_response(self, response: str) -> tuple[list[int], list[float]]:
        text = response + self.end_of_turn
        if self.answer_weight == 1.0:
            ids = list(self.form.encode(text))
            return ids, [1.0] * len(ids)
        found = boxes(text)
        # The answer ends where the box's closing brace stands.
        end = found[-1][1] - 1 if found else 0
        begin = end - len(found[-1][2]) if found else 0
        encoded = self.form.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        inside = [first < end and last > begin for first, last in encoded["offset_mapping"]]
        return encoded["input_ids"], [self.answer_weight if box else 1.0 for box in inside]
