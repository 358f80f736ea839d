"""The thinking format is read from the tokenizer, the template and the file beside the checkpoint."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from serve import DEFAULT_MODEL
from serve.budget import RequestError
from serve.formats import load_format


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


def test_file_beside_the_checkpoint(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    (tmp_path / "thinking_format.json").write_text(json.dumps({"stop_text": "Enough.\n</think>\n"}))
    assert load_format(tokenizer, tmp_path).stop_text == "Enough.\n</think>\n"
    assert load_format(tokenizer, tmp_path, stop_text="</think>").stop_text == "</think>"
    (tmp_path / "thinking_format.json").write_text(json.dumps({"stop": "x"}))
    with pytest.raises(ValueError, match="stop"):
        load_format(tokenizer, tmp_path)


def test_without_a_file(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    assert load_format(tokenizer, tmp_path).stop_text.endswith("directly now.\n</think>\n\n")


def test_template_that_opens_thinking(tokenizer: PreTrainedTokenizerBase) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n"
    assert load_format(tokenizer, chat_template=template).opened_by == "template"


def test_tag_that_is_no_token(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="--thinking-open"):
        load_format(tokenizer, open="<reason>")


@pytest.mark.parametrize("text", ["", "no tag", "</think></think>", "<|im_end|></think>", "<think></think>"])
def test_wrong_stop_text(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    with pytest.raises(RequestError) as error:
        load_format(tokenizer).encode_stop_text(text)
    assert error.value.param == "thinking.stop_text"
