"""Training rows of a fused model: thinking, cut thinking and no thinking, under every kind of switch.

A row is a tree. Its trunk is a prompt with one reply; *branches* fork off it and end in other replies, each
seeing the trunk only up to its fork. So one trace teaches every budget at the price of one, as one trace
measures every budget in a forked sweep. Prompts are rendered by the chat template exactly as at inference,
and only what the model itself must write carries loss:

- *think*: the trunk's thinking and answer (no flag, or `/think`);
- *cut*: a branch after the first k thinking tokens; the early-stop text carries no loss, the answer does;
- *no_think*: with the hard switch the empty block is the template's and carries no loss; with the soft
  switch `/no_think` the model writes the empty block, so it does (Qwen3 report, Table 9).

Where several flags stand in a conversation the last one wins (Qwen3 report, section 4.3).
"""

import random
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from evals.problems import thinkmath
from evals.problems.thinkmath import Item
from serve.formats import CLOSE, OPEN, STOP_SENTENCE
from trainer.recipe import Mix

STOP_TEXT = f"{STOP_SENTENCE}\n{CLOSE}\n\n"
"""The early-stop text the default model is trained with; its checkpoint tells the server to insert it."""
EMPTY_BLOCK = f"{OPEN}\n\n{CLOSE}\n\n"
ANYTIME_FAMILIES = ("highest", "lowest", "majority")
SYSTEM_PROMPTS = ("You are a careful assistant.", "Answer with a single number.")


@dataclass(frozen=True, slots=True)
class Branch:
    """Tokens from `start` to the next branch, which continue the trunk's first `fork` tokens."""

    start: int
    fork: int


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of a trunk and its branches, and the loss weight of each, 0 where not trained.

    A branch's first token has weight 0, as the token before it in `ids` is not the one it follows.
    """

    ids: list[int]
    weights: list[float]
    branches: list[Branch] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages up to the last user turn, and the hard switch they are rendered with."""

    messages: list[dict[str, str]]
    enable_thinking: bool
    soft_no_think: bool


def answer_text(item: Item) -> str:
    """What the model says after thinking."""
    return f"The answer is \\boxed{{{item.problem.answer}}}."


def draw_row(rng: random.Random, tokenizer: PreTrainedTokenizerBase, split: thinkmath.Split, mix: Mix) -> Row:
    """Draw a problem of `split` and a mode of `mix`, and make their row."""
    mode = rng.choices(("think", "no_think"), weights=(mix.think, mix.no_think))[0]
    thinking = mode == "think"
    levels = [1.0] * len(thinkmath.LEVELS) if thinking else mix.no_think_levels
    item = thinkmath.draw(rng, split, rng.choices(thinkmath.LEVELS, weights=levels)[0])
    conversation = draw_conversation(rng, item, thinking, mix) if mix.flags else plain(item)
    prompt = prompt_ids(tokenizer, conversation)
    if not thinking:
        return no_think_row(tokenizer, prompt, item, conversation.soft_no_think, mix.answer_weight)
    row = think_row(tokenizer, prompt, item)
    for _ in range(mix.cuts):
        add_cut(row, tokenizer, len(prompt), item, draw_cut(rng, tokenizer, item), mix.answer_weight)
    if mix.no_think:
        add_no_think(row, tokenizer, len(prompt), item, mix.answer_weight)
    return row


def prompt_ids(tokenizer: PreTrainedTokenizerBase, conversation: Conversation) -> list[int]:
    """The prompt as the server renders it."""
    return tokenizer.apply_chat_template(
        conversation.messages,
        add_generation_prompt=True,
        enable_thinking=conversation.enable_thinking,
        return_dict=False,
    )


def thinking_ids(tokenizer: PreTrainedTokenizerBase, item: Item) -> list[int]:
    """The thinking tokens of the item's own trace: what stands between the tags."""
    return tokenizer.encode(f"\n{item.trace}\n")


def think_row(tokenizer: PreTrainedTokenizerBase, prompt: list[int], item: Item) -> Row:
    """Thinking and answer, all trained with weight 1."""
    reply = tokenizer.encode(f"<think>\n{item.trace}\n</think>\n\n{answer_text(item)}<|im_end|>")
    return Row(prompt + reply, [0.0] * len(prompt) + [1.0] * len(reply))


def add_cut(
    row: Row, tokenizer: PreTrainedTokenizerBase, prompt: int, item: Item, cut: int, answer_weight: float
) -> None:
    """Branch off after `cut` thinking tokens of a think row whose prompt has `prompt` tokens.

    The branch is the early-stop text, without loss, and the answer.
    """
    opened = len(tokenizer.encode(OPEN))
    _add_branch(row, prompt + opened + cut, tokenizer.encode(STOP_TEXT), tokenizer, item, answer_weight)


def add_no_think(
    row: Row, tokenizer: PreTrainedTokenizerBase, prompt: int, item: Item, answer_weight: float
) -> None:
    """Branch off after the prompt, of `prompt` tokens: the hard switch's empty block and the answer."""
    _add_branch(row, prompt, tokenizer.encode(EMPTY_BLOCK), tokenizer, item, answer_weight)


def _add_branch(
    row: Row,
    fork: int,
    inserted: list[int],
    tokenizer: PreTrainedTokenizerBase,
    item: Item,
    answer_weight: float,
) -> None:
    answer, weights = _answer(tokenizer, item, answer_weight)
    row.branches.append(Branch(start=len(row.ids), fork=fork))
    row.ids.extend(inserted + answer)
    row.weights.extend([0.0] * len(inserted) + weights)


def no_think_row(
    tokenizer: PreTrainedTokenizerBase, prompt: list[int], item: Item, soft: bool, answer_weight: float
) -> Row:
    """The answer at once; behind the soft switch the empty block is the model's to write."""
    block = tokenizer.encode(EMPTY_BLOCK) if soft else []
    answer, weights = _answer(tokenizer, item, answer_weight)
    return Row(prompt + block + answer, [0.0] * len(prompt) + [1.0] * len(block) + weights)


def _answer(
    tokenizer: PreTrainedTokenizerBase, item: Item, answer_weight: float
) -> tuple[list[int], list[float]]:
    """The answer's tokens; those inside the box, which alone are not predictable, weigh `answer_weight`."""
    before, after = answer_text(item).split(item.problem.answer)
    parts = [(before, 1.0), (item.problem.answer, answer_weight), (after + "<|im_end|>", 1.0)]
    ids, weights = [], []
    for text, weight in parts:
        part = tokenizer.encode(text)
        ids += part
        weights += [weight] * len(part)
    return ids, weights


def draw_cut(rng: random.Random, tokenizer: PreTrainedTokenizerBase, item: Item) -> int:
    """How many thinking tokens to keep, at least 1 and fewer than all.

    Most of the chains' cuts fall where at most two steps are left: deeper ones can only be guessed, and
    their noise slows everything else.
    """
    length = len(thinking_ids(tokenizer, item))
    if item.problem.subject not in ANYTIME_FAMILIES and rng.random() < 0.8:
        lines = item.trace.splitlines()
        rest = len(tokenizer.encode("\n".join(lines[-2:]) + "\n"))
        return rng.randint(max(1, length - rest), length - 1)
    return rng.randint(1, length - 1)


def plain(item: Item) -> Conversation:
    """The problem alone, thinking by default."""
    return Conversation([{"role": "user", "content": item.problem.problem}], True, False)


def draw_conversation(rng: random.Random, item: Item, thinking: bool, mix: Mix) -> Conversation:
    """A conversation that ends in the item's problem and whose switches ask for `thinking`.

    Flags stand in the user or the system turn; earlier turns may carry other flags, and the last one wins.
    Without any flag the default is to think, so no_think is then asked by the hard switch.
    """
    flag = "/think" if thinking else "/no_think"
    messages: list[dict[str, str]] = []
    system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.2 else ""
    flagged = rng.random() < 0.5
    in_system = flagged and rng.random() < 0.3
    earlier_flag = ""
    if in_system:
        system = f"{system} {flag}".strip()
    if system:
        messages.append({"role": "system", "content": system})
    if rng.random() < mix.multi_turn:
        earlier = thinkmath.draw(rng, "train", rng.choice((1, 2)))
        if not in_system:
            earlier_flag = rng.choice(("", "/think", "/no_think"))
        messages.append({"role": "user", "content": f"{earlier.problem.problem} {earlier_flag}".strip()})
        messages.append({"role": "assistant", "content": answer_text(earlier)})
    text = item.problem.problem
    if flagged and not in_system:
        text = f"{text} {flag}"
    messages.append({"role": "user", "content": text})
    last = flag if flagged else earlier_flag
    if thinking and last == "/no_think":
        messages[-1]["content"] = f"{text} /think"
        last = "/think"
    soft_no_think = not thinking and last == "/no_think"
    return Conversation(messages, enable_thinking=thinking or soft_no_think, soft_no_think=soft_no_think)
