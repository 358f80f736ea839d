"""What a checkpoint is known by: the SHA-256 of the files that its replies depend on."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

WEIGHTS = (".safetensors", ".bin", ".gguf")
_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.bin",
    "*.bin.index.json",
    "*.gguf",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "thinking_format.json",
)


def checkpoint_files(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of each file of a checkpoint that its replies depend on: weights, tokenizer, configuration.

    Raises ValueError where the folder has no config.json or no weights.
    """
    names = sorted({path.name for pattern in _FILES for path in checkpoint.glob(pattern)})
    if "config.json" not in names or not any(name.endswith(WEIGHTS) for name in names):
        raise ValueError(
            f"checkpoint: {checkpoint} holds no config.json and weights; give the folder of the model that "
            "was served"
        )
    return {name: _file_hash(checkpoint / name) for name in names}


def checkpoint_hash(files: Mapping[str, str]) -> str:
    """SHA-256 over the lines `NAME HASH` of `files`, sorted by name."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
