"""The thinking format is read from the tokenizer, the template and the file beside the checkpoint."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from serve import DEFAULT_MODEL
from serve.budget import RequestError
from serve.formats import KNOWN_TAGS, find_format, load_format, no_thinking
from serve.prompts import prompt_state

TURNS = ("<|im_start|>", "<|im_end|>", "<｜User｜>", "<｜Assistant｜>", "[INST]", "[/INST]", "</s>")
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ASSISTANT = "<|im_start|>assistant\n"
DEEPSEEK_V3_1 = """{%- if not thinking is defined %}{% set thinking = false %}{% endif -%}
{%- for m in messages %}{{ '<｜User｜>' + m.content if m.role == 'user' else '<｜Assistant｜></think>'
  + (m.content.split('</think>', 1)[1] if '</think>' in m.content else m.content) + '</s>' }}{% endfor -%}
{%- if add_generation_prompt %}{{ '<｜Assistant｜>' + ('<think>' if thinking else '</think>') }}{% endif %}"""
MAGISTRAL = """First think: [THINK]your thoughts[/THINK]then answer.
{%- for m in messages %}{{ '[INST]' + m.content + '[/INST]' if m.role == 'user' else m.content + '</s>' }}
{%- endfor %}"""


def real_template(name: str) -> str:
    """A published chat template, as TRL ships it."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    return (folder / f"{name}.jinja").read_text(encoding="utf-8")


def tiny_tokenizer(*tags: str, template: str | None = None, special: bool = False) -> PreTrainedTokenizerBase:
    """Bytes as tokens, and `tags` and turn tokens as one token each."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    bytes_only.add_special_tokens([AddedToken(token, special=True) for token in TURNS])
    bytes_only.add_tokens([AddedToken(tag, special=special, normalized=False) for tag in tags])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="</s>")
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(DEFAULT_MODEL)


def test_shipped_model(tokenizer: PreTrainedTokenizerBase) -> None:
    form = load_format(tokenizer, DEFAULT_MODEL)
    assert (form.open, form.close, form.opened_by) == ("<think>", "</think>", "model")
    assert form.open_id == tokenizer.convert_tokens_to_ids("<think>")
    assert form.stop_ids.count(form.close_id) == 1
    assert tokenizer.decode(list(form.stop_ids)) == form.stop_text
    assert tokenizer.decode(list(form.empty_block_ids)) == "<think>\n\n</think>\n\n"
    assert form.template_kwargs(False) == {"enable_thinking": False}
    assert form.turn_end_ids == {tokenizer.convert_tokens_to_ids(t) for t in ("<|im_start|>", "<|im_end|>")}
    assert form.end_ids == {form.close_id, tokenizer.convert_tokens_to_ids("<tool_call>")}


EMPTY = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("name", "opened", "on", "off", "closing", "tools"),
    [
        ("qwen3", "", True, EMPTY, "\n</think>\n\n", "kept"),
        ("qwen3_5_think", "<think>\n", True, EMPTY, "\n</think>\n\n", "kept"),
        ("qwen3_5_nothink", "<think>\n", False, EMPTY, "\n</think>\n\n", "kept"),
        ("deepseek_r1_distill", "<think>\n", True, None, "\n</think>\n\n", "stripped"),
        ("glm4moe", "", True, "<think></think>", "</think>", "kept"),
        ("nemotron_3_nano", "<think>\n", True, "<think></think>", "\n</think>\n\n", "kept"),
    ],
)
def test_published_templates(
    name: str, opened: str, on: bool, off: str | None, closing: str, tools: str
) -> None:
    tokenizer = tiny_tokenizer("<think>", "</think>", template=real_template(name))
    form = load_format(tokenizer)
    template = form.template
    switch = "enable_thinking" if off else None
    assert form.opened_by == ("template" if opened else "model")
    assert (template.opened_text, template.switch, template.on_by_default) == (opened, switch, on)
    assert (template.off_text, template.earlier_turns, template.tool_turns) == (off, "stripped", tools)
    assert tokenizer.decode(form.close_block_ids) == closing
    for thinking in (True, False):
        kwargs = form.template_kwargs(thinking)
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": "1"}], tokenize=False, add_generation_prompt=True, **kwargs
        )
        state = prompt_state(tokenizer.encode(prompt, add_special_tokens=False), form)
        assert state == template.prompt_state(kwargs)
        on_state = "thinking" if opened else "fresh"
        assert state == ("disabled" if off and not thinking else on_state)


def test_template_that_thinks_only_when_told() -> None:
    """DeepSeek-V3.1: the switch is `thinking`, off by default, and off is a lone closing tag."""
    form = load_format(tiny_tokenizer("<think>", "</think>", template=DEEPSEEK_V3_1))
    assert form.template_kwargs(True) == {"thinking": True}
    assert form.template.prompt_state({}) == form.template.prompt_state({"thinking": False}) == "disabled"
    assert form.template.prompt_state({"thinking": True}) == "thinking"
    assert form.off_text == "</think>"


@pytest.mark.parametrize(("open", "close"), KNOWN_TAGS)
@pytest.mark.parametrize("special", [False, True])
def test_known_tags(open: str, close: str, special: bool) -> None:
    template = CHATML + ASSISTANT + open
    form = load_format(tiny_tokenizer(open, close, template=template, special=special))
    assert (form.open, form.close, form.opened_by) == (open, close, "template")


def test_tags_in_a_system_prompt_are_not_the_reply_s() -> None:
    tokenizer = tiny_tokenizer("[THINK]", "[/THINK]", "[TOOL_CALLS]", template=MAGISTRAL, special=True)
    form = load_format(tokenizer)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "1"}], tokenize=False)
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    assert form.open_id in ids
    assert prompt_state(ids, form) == "fresh"
    assert prompt_state([*ids, form.open_id], form) == "thinking"
    assert tokenizer.convert_tokens_to_ids("[TOOL_CALLS]") in form.end_ids


def test_models_without_thinking() -> None:
    assert (
        find_format(tiny_tokenizer("<think>", "</think>", template=real_template("qwen3_instruct_2507")))
        is None
    )
    assert find_format(tiny_tokenizer(template=CHATML)) is None
    assert find_format(tiny_tokenizer("<think>", template=real_template("qwen3"))) is None
    assert "no thinking" in str(no_thinking("M"))
    with pytest.raises(ValueError, match="--thinking-open"):
        load_format(tiny_tokenizer(template=CHATML))
    with pytest.raises(ValueError, match="early-stop text"):
        find_format(tiny_tokenizer(template=CHATML), stop_text="So.")


def test_base_models_without_a_template() -> None:
    form = load_format(tiny_tokenizer("<think>", "</think>"))
    assert (form.opened_by, form.template.switch) == ("model", None)


def test_other_tags_by_name() -> None:
    tokenizer = tiny_tokenizer("<reason>", "</reason>", template=CHATML)
    assert find_format(tokenizer) is None
    form = load_format(tokenizer, open="<reason>", close="</reason>")
    assert form.stop_text.endswith("\n</reason>\n\n")
    with pytest.raises(ValueError, match="both"):
        load_format(tokenizer, open="<reason>")
    with pytest.raises(ValueError, match="must differ"):
        load_format(tokenizer, open="<reason>", close="<reason>")
    with pytest.raises(ValueError, match=r"'<thought>' is 9 tokens.*must be one"):
        load_format(tokenizer, open="<thought>", close="</reason>")


def test_one_known_tag_names_the_other(tokenizer: PreTrainedTokenizerBase) -> None:
    assert load_format(tokenizer, open="<think>").close == "</think>"
    assert load_format(tokenizer, close="</think>").open == "<think>"


def test_file_beside_the_checkpoint(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    def write(members: dict[str, Any]) -> None:
        (tmp_path / "thinking_format.json").write_text(json.dumps(members))

    write({"stop_text": "Enough.\n</think>\n"})
    assert load_format(tokenizer, tmp_path).stop_text == "Enough.\n</think>\n"
    assert load_format(tokenizer, tmp_path, stop_text="</think>").stop_text == "</think>"
    write({"open": "<tool_call>", "close": "</tool_call>"})
    assert load_format(tokenizer, tmp_path).close == "</tool_call>"
    assert load_format(tokenizer, tmp_path, open="<think>", close="</think>").close == "</think>"
    write({"stop": "x"})
    with pytest.raises(ValueError, match="stop"):
        load_format(tokenizer, tmp_path)


def test_without_a_file(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    assert load_format(tokenizer, tmp_path).stop_text.endswith("directly now.\n</think>\n\n")


def test_another_template_in_place_of_the_tokenizer_s(tokenizer: PreTrainedTokenizerBase) -> None:
    assert load_format(tokenizer, chat_template=CHATML + ASSISTANT + "<think>\n").opened_by == "template"
    assert find_format(tokenizer, chat_template=CHATML) is None


@pytest.mark.parametrize("text", ["", "no tag", "</think></think>", "<|im_end|></think>", "<think></think>"])
def test_wrong_stop_text(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    with pytest.raises(RequestError) as error:
        load_format(tokenizer).encode_stop_text(text)
    assert error.value.param == "thinking.stop_text"
