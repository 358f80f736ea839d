"""Sample replies to read: their records, and the same as text with inserted tokens marked."""

import itertools
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from trainer.rollouts.types import Rollout


def trace_of(rollout: Rollout, tokenizer: PreTrainedTokenizerBase, **facts: Any) -> dict[str, Any]:
    """A record of a rollout for `Progress.traces`.

    `reply` is a list of parts `{"text", "inserted"}`, which joined are the whole reply. `facts` (such as
    answer, reward, problem) are added as they are; they must be JSON.
    """
    parts = []
    position = 0
    for inserted, group in itertools.groupby(rollout.inserted):
        end = position + len(list(group))
        text = tokenizer.decode(rollout.token_ids[position:end], skip_special_tokens=False)
        parts.append({"text": text, "inserted": inserted})
        position = end
    return {
        "prompt": tokenizer.decode(rollout.request.prompt_ids, skip_special_tokens=False),
        "reply": parts,
        "budget": rollout.request.budget,
        "thinking_tokens": rollout.thinking_tokens,
        "stop_cause": rollout.stop_cause,
        "finish_reason": rollout.finish_reason,
        **facts,
    }


def render_trace(trace: Mapping[str, Any]) -> str:
    """A trace as text: a line of facts, the prompt, a line `>>>`, and the reply, inserted text in ⟦ ⟧.

    Facts of several lines, such as a judge's, follow the reply, each behind a line `<<< name`.
    """
    known = {name: value for name, value in trace.items() if name not in ("prompt", "reply")}
    texts = {name: value for name, value in known.items() if isinstance(value, str) and "\n" in value}
    facts = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in known.items()
        if name not in texts and value is not None
    ]
    reply = "".join(f"⟦{part['text']}⟧" if part["inserted"] else part["text"] for part in trace["reply"])
    said = "".join(f"<<< {name}\n{text}\n" for name, text in texts.items())
    return f"--- {', '.join(facts)}\n{trace['prompt'].rstrip()}\n>>>\n{reply}\n{said}"
