"""The default model's tokenizer: a small byte-level BPE with Qwen3's split rule, tags and chat template."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = Path(__file__).parent / "chat_template.jinja"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen3's pre-tokenization: every digit is a token of its own."""
SPACE, NEWLINE = "Ġ", "Ċ"
"""How byte-level BPE spells the space and the line feed."""


def build_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Learn a tokenizer of at most `vocab_size` tokens in which every word of `texts` is cheap.

    Merges are learnt inside words only, and a leading space is merged with whole words and operators last:
    single letters and digits stay tokens of their own, so a variable is the same token wherever it stands.
    """
    words = Counter(word for text in texts for word in re.findall(r"[A-Za-z]{2,}", text))
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tags = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
    spaced = len(words) + 5
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learner.train_from_iterator(
        words.elements(),
        trainers.BpeTrainer(
            vocab_size=vocab_size - spaced - len(special) - len(tags),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    learnt = learner.get_vocab()
    vocab = [token for token, _ in sorted(learnt.items(), key=lambda pair: pair[1])]
    merges = _merges(learner)
    merges.append((NEWLINE, NEWLINE))
    merges += [(SPACE, word) for word in sorted(words) if word in learnt]
    merges += [(SPACE, sign) for sign in "+-*("]
    vocab += [left + right for left, right in merges if left + right not in learnt]

    tokenizer = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(vocab)}, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in tags])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE.read_text(encoding="utf-8"),
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """The merges of a trained BPE tokenizer, in order of rank."""
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
