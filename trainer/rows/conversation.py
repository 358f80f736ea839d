"""How a prompt asks for thinking or none: flags in user and system turns, the hard switch, earlier turns.

Where several flags stand in a conversation the last one wins, and without any the model thinks (Qwen3 report,
arXiv 2505.09388, section 4.3 and Table 9).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from serve.formats import ThinkingFormat
from trainer.examples import Example

THINK, NO_THINK = "/think", "/no_think"
SYSTEM_SHARE = 0.2
"""Of conversations that have a system prompt, where there are any to draw from."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages up to the last user turn, and the hard switch they are rendered with.

    thinks: whether a thinking reply is asked for. soft_no_think: none is, by a flag: the model itself writes
    the empty block, which behind the hard switch is the template's.
    """

    messages: list[dict[str, str]]
    enable_thinking: bool
    thinks: bool
    soft_no_think: bool


def plain_conversation(example: Example, thinks: bool = True) -> Conversation:
    """The problem alone; thinking is the default, and none is asked by the hard switch."""
    return Conversation(problem_messages(example), thinks, thinks, False)


def problem_messages(example: Example) -> list[dict[str, str]]:
    """The turns that pose the problem, the last of them the user's."""
    turns = example.problem.messages or (("user", example.problem.problem),)
    return [{"role": role, "content": text} for role, text in turns]


def draw_conversation(
    rng: random.Random,
    example: Example,
    thinks: bool,
    flagged: float,
    in_system: float,
    multi_turn: float,
    system_prompts: Sequence[str] = (),
    earlier: Example | None = None,
    overruled: float = 0.0,
) -> Conversation:
    """A conversation that ends in the example's problem and whose switches ask for `thinks`.

    flagged: probability of a flag; without one, no thinking is asked by the hard switch. in_system:
    probability that the flag stands in the system turn. multi_turn: probability that `earlier` (an example
    with a response) stands before, in which case its turn may carry another flag. overruled: probability
    that a flag in a user turn follows one in the system turn. A problem with turns of its own keeps them.
    """
    flag = THINK if thinks else NO_THINK
    messages = problem_messages(example)
    is_flagged, is_in_system = rng.random() < flagged, rng.random() < in_system
    system = rng.choice(system_prompts) if system_prompts and rng.random() < SYSTEM_SHARE else ""
    has_earlier, earlier_flag = rng.random() < multi_turn, rng.choice(("", THINK, NO_THINK))
    if messages[0]["role"] == "system":
        system = messages.pop(0)["content"]
    last = ""
    if has_earlier and earlier is not None and earlier.response is not None and len(messages) == 1:
        # A flag in the system turn comes first and must not be overruled by an earlier user turn's.
        last = "" if is_flagged and is_in_system else earlier_flag
        messages = [
            *problem_messages(earlier)[-1:],
            {"role": "assistant", "content": earlier.response},
            *messages,
        ]
        messages[0]["content"] = f"{messages[0]['content']} {last}".strip()
    if is_flagged and is_in_system:
        system = f"{system} {flag}".strip()
        last = flag
    elif is_flagged or (thinks and last == NO_THINK):
        messages[-1]["content"] += f" {flag}"
        last = flag
    if overruled and last and not (is_flagged and is_in_system) and rng.random() < overruled:
        system = f"{system} {rng.choice((THINK, NO_THINK))}".strip()
    if system:
        messages.insert(0, {"role": "system", "content": system})
    soft = not thinks and last == NO_THINK
    return Conversation(messages, thinks or soft, thinks, soft)


def prompt_ids(form: ThinkingFormat, conversation: Conversation) -> list[int]:
    """The prompt's token ids, as the server renders it."""
    return render(form, conversation.messages, conversation.enable_thinking)


def render(form: ThinkingFormat, messages: list[dict[str, str]], thinking: bool) -> list[int]:
    """The chat template's tokens for `messages` and a reply's beginning, thinking switched on or off."""
    ids = form.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False, **form.template_kwargs(thinking)
    )
    if thinking or form.template.switch is not None:
        return list(ids)
    # Models without a switch are told by the empty block, which the server puts where a block would begin.
    block = form.close_block_ids if form.opened_by == "template" else form.empty_block_ids
    return [*ids, *block]
