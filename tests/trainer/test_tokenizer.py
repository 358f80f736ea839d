"""The default model's tokenizer and chat template behave as Qwen3's."""

import importlib.resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from serve import DEFAULT_MODEL

TOKENIZER = AutoTokenizer.from_pretrained(DEFAULT_MODEL)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return TOKENIZER


def render(messages: list[dict[str, str]], **kwargs: object) -> str:
    return TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **kwargs)


def test_digits_letters_and_tags_are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert [tokenizer.decode([id]) for id in tokenizer.encode("1234=x")] == ["1", "2", "3", "4", "=", "x"]
    for tag in ("<think>", "</think>", "<|im_start|>", "<|im_end|>", "\n\n"):
        assert len(tokenizer.encode(tag)) == 1
    assert tokenizer.encode("a x")[-1] == tokenizer.encode("x")[0]


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_survives_encoding(text: str) -> None:
    import unicodedata

    assert TOKENIZER.decode(TOKENIZER.encode(text)) == unicodedata.normalize("NFC", text)


def test_template_is_qwen3s() -> None:
    theirs = importlib.resources.files("trl").joinpath("chat_templates/qwen3.jinja").read_text("utf-8")
    assert TOKENIZER.chat_template.strip() == theirs.strip()


def test_thinking_off_appends_the_empty_block() -> None:
    user = [{"role": "user", "content": "1+1?"}]
    assert render(user) == render(user, enable_thinking=True)
    assert render(user, enable_thinking=False) == render(user) + "<think>\n\n</think>\n\n"


def test_thinking_of_earlier_turns_is_stripped() -> None:
    text = render(
        [
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "<think>\nsecret\n</think>\n\n2"},
            {"role": "user", "content": "2+2?"},
        ]
    )
    assert "secret" not in text
    assert "<|im_start|>assistant\n2<|im_end|>" in text
