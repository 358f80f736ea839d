"""How many of anything a request may hold: a few bytes each, and each costs the server far more than them."""

from typing import Any

from serve.budget import RequestError
from serve.dialects import SPEAKS_OF_THINKING

LARGEST = 2**63
MOST_ALTERNATIVES = 4096
"""Of which a grammar is made, in a time that grows with their square."""
LISTS = ("messages", "input", "tools", "documents")
"""Members of which each entry is a token of the prompt at least."""


def check_counts(body: dict[str, Any], context: int, most_choices: int) -> None:
    """Raise RequestError for lists that no prompt can hold, for more replies than are drawn for one request,
    and for integers that the engine's messages cannot hold (it is never told those of thinking).

    context: of the model, in tokens. most_choices: in all, over the request's prompts.
    """
    for name, value in body.items():
        if type(value) is int and abs(value) >= LARGEST and not SPEAKS_OF_THINKING.search(name):
            raise RequestError(name, f"{name} has {value.bit_length()} bits; it must be less than 2^63")
    for name in LISTS:
        value = body.get(name)
        entries = len(value) if isinstance(value, list) else 0
        if entries > context:
            raise RequestError(
                name,
                f"{name} has {entries} entries, each a token at least; the model's context holds {context}",
            )
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        parts = message.get("content") if isinstance(message, dict) else None
        if isinstance(parts, list) and len(parts) > context:
            raise RequestError(
                "messages", f"a message has {len(parts)} parts; the model's context holds {context} tokens"
            )
    outputs = body.get("structured_outputs")
    choice = outputs.get("choice") if isinstance(outputs, dict) else None
    if isinstance(choice, list) and len(choice) > MOST_ALTERNATIVES:
        raise RequestError(
            "structured_outputs.choice",
            f"structured_outputs.choice has {len(choice)} entries; at most {MOST_ALTERNATIVES} are compiled",
        )
    prompt, n = body.get("prompt"), body.get("n")
    prompts = prompt if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else [prompt]
    choices = len(prompts) * (n if type(n) is int else 1)
    if choices > most_choices:
        raise RequestError(
            "n" if len(prompts) == 1 else "prompt",
            f"the request is for {choices} choices; it may ask {most_choices} (VLLM_MAX_N_SEQUENCES)",
        )
