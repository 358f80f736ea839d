"""Vocabularies of several families of models: bytes, their control tokens, and their templates."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TAGS = ("<think>", "</think>")
CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>", *TAGS)
LLAMA = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", *TAGS)
DEEPSEEK = ("<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", *TAGS)
HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>", *TAGS)
MISTRAL = ("[INST]", "[/INST]", "[THINK]", "[/THINK]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "</s>")
PHI = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", *TAGS)
MISTRAL_TEMPLATE = """{%- for m in messages %}{{ '[INST]' + m.content + '[/INST]' if m.role == 'user'
  else '[TOOL_RESULTS]' + m.content + '[/TOOL_RESULTS]' if m.role == 'tool' else m.content + '</s>' }}
{%- endfor %}{{ tools }}{{ documents }}"""
JOINED = """{%- for m in messages %}<|im_start|>{{ m.role }}
{% for part in m.content %}{{ part.text }}{% endfor %}{{ m.name }}{{ m.tool_call_id }}<|im_end|>
{% endfor %}{{ tools }}{{ documents }}"""


@dataclass(frozen=True)
class Family:
    """control: its control tokens. template: a name of TRL's, or the text. normalized: they are looked for in
    normalised text. calls: the template takes tool calls as vLLM gives them, arguments as an object."""

    control: tuple[str, ...]
    template: str
    normalized: bool = False
    calls: bool = True

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Bytes as tokens, and each control token as one."""
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        made = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        if self.normalized:
            made.normalizer = normalizers.NFKC()
        made.add_tokens(
            [AddedToken(name, special=False, normalized=self.normalized) for name in self.control]
        )
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
        tokenizer.chat_template = self.text()
        return tokenizer

    def text(self) -> str:
        if "{" in self.template:
            return self.template
        spec = find_spec("trl")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
        return (folder / f"{self.template}.jinja").read_text(encoding="utf-8")


FAMILIES = {
    "qwen3": Family(CHATML, "qwen3"),
    "qwen2.5": Family(CHATML, "qwen2_5"),
    "llama3.2": Family(LLAMA, "llama3_2"),
    "deepseek-v3": Family(DEEPSEEK, "deepseekv3", calls=False),
    "deepseek-r1": Family(DEEPSEEK, "deepseek_r1_distill", calls=False),
    "gpt-oss": Family(HARMONY, "gptoss"),
    "glm4.5": Family((*CHATML, "[gMASK]", "<|user|>", "<|assistant|>", "<|observation|>"), "glm4moe"),
    "phi3": Family(PHI, "phi3"),
    "mistral": Family(MISTRAL, MISTRAL_TEMPLATE),
    "parts in a row": Family(CHATML, JOINED),
    "normalised": Family(CHATML, JOINED, normalized=True),
}
