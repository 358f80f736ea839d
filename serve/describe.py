"""`thinkdial serve --describe MODEL`: how a model thinks, by its tokenizer, template and configuration."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serve.formats import REASONING_PARSER, ThinkingFormat, find_format

PROMPT = {
    "stripped": "taken out of the prompt",
    "kept": "kept in the prompt",
    None: "unknown: the template does not render such a conversation",
}


def run(model: str, ours: argparse.Namespace, rest: Sequence[str]) -> int:
    """Print `describe` in a process that does nothing else. Returns the exit code."""
    # Tokenizers need no torch, and most of the start of transformers is importing it.
    sys.modules["torch"] = None  # type: ignore[assignment]
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        print(describe(model, ours, rest))
    except (ValueError, OSError) as error:
        print(f"thinkdial serve: error: {error}", file=sys.stderr)
        return 2
    return 0


def describe(model: str, ours: argparse.Namespace, rest: Sequence[str]) -> str:
    """What `thinkdial serve` would make of a model, as lines of text. Reads no weights and starts nothing.

    model: folder or hub name. ours: our flags. rest: vLLM's, of which those about tokenizer, template, parser
    and context length count.
    Raises ValueError where `serve.formats.find_format` does, and OSError if there is no such model.
    """
    # Late, because `run` decides what transformers finds.
    from transformers import AutoConfig, AutoTokenizer

    flags = _vllm_flags(rest)
    trust = flags.trust_remote_code
    tokenizer = AutoTokenizer.from_pretrained(
        flags.tokenizer or model, revision=flags.tokenizer_revision or flags.revision, trust_remote_code=trust
    )
    config = AutoConfig.from_pretrained(model, revision=flags.revision, trust_remote_code=trust)
    chat_template = flags.chat_template
    if chat_template is not None and Path(chat_template).is_file():
        chat_template = Path(chat_template).read_text(encoding="utf-8")
    form = find_format(
        tokenizer,
        Path(model),
        chat_template=chat_template,
        open=ours.thinking_open,
        close=ours.thinking_close,
        stop_text=ours.thinking_stop_text,
    )
    lines = [
        ("model", model),
        ("architecture", ", ".join(config.architectures or ["unknown"])),
        ("context length", flags.max_model_len or _context_length(config)),
    ]
    if form is None:
        lines.append(("thinking", "none; a request with a budget is refused"))
    else:
        lines += _thinking(form, flags.reasoning_parser or REASONING_PARSER)
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in lines)


def _thinking(form: ThinkingFormat, parser: str) -> list[tuple[str, str]]:
    template = form.template
    by_template = template.opened_by == "template"
    calls = [f"{name!r} (id {i})" for name in form.ends if name != form.close for i in form.encode(name)]
    return [
        ("open tag", f"{form.open!r} (id {form.open_id})"),
        ("close tag", f"{form.close!r} (id {form.close_id})"),
        ("also closed by", ", ".join(calls) or "nothing"),
        ("opened by", f"the template, by {template.opened_text!r}" if by_template else "the model"),
        ("switched off by", _switch(form)),
        ("early-stop text", repr(form.stop_text)),
        ("early-stop ids", f"{len(form.stop_ids)}: {list(form.stop_ids)}"),
        ("earlier thinking", PROMPT[template.earlier_turns]),
        ("… of tool calls", PROMPT[template.tool_turns]),
        ("reasoning parser", parser),
    ]


def _switch(form: ThinkingFormat) -> str:
    template = form.template
    if template.switch is None:
        ids = form.close_block_ids if template.opened_by == "template" else form.empty_block_ids
        return f"{form.decode(ids, skip_special_tokens=False)!r} after the prompt; the template has no switch"
    what = f"{template.switch}=False in chat_template_kwargs"
    if not template.on_by_default:
        what += ", the default"
    return what if template.off_text is None else f"{what}: the template then ends with {template.off_text!r}"


def _context_length(config: Any) -> str:
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return "unknown" if length is None else str(length)


def _vllm_flags(rest: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for name in ("tokenizer", "revision", "tokenizer-revision", "chat-template", "reasoning-parser"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--max-model-len")
    parser.add_argument("--trust-remote-code", action="store_true")
    return parser.parse_known_args(rest)[0]
