"""What a checkpoint is known by: the SHA-256 of the files that replies depend on; and whether it is whole."""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def check_checkpoint(folder: Path, *, weights: bool = False) -> None:
    """Read enough of a checkpoint's files to know that none is missing, cut short or no JSON.

    weights: there must be some; without it the configuration alone will do. The tensors are not read.
    Raises ValueError naming folder or file.
    """
    whole = "give a checkpoint's folder, copied whole"
    if not any((folder / name).is_file() for name in ("config.json", "params.json")):
        raise ValueError(f"{str(folder)!r} has no config.json; give a checkpoint's folder")
    for path in sorted(folder.glob("*.json")):
        content = _json(path.read_bytes(), path, whole)
        for shard in sorted(set(content.get("weight_map", {}).values())):
            if not (folder / shard).is_file():
                raise ValueError(f"{str(folder / shard)!r} is missing, which {path.name} names; {whole}")
    for path in sorted(folder.glob("*.safetensors")):
        _check_safetensors(path, whole)
    if weights and not any(path.suffix in (*WEIGHTS, ".pt", ".pth") for path in folder.iterdir()):
        raise ValueError(f"{str(folder)!r} has no weights, such as model.safetensors; {whole}")


def _check_safetensors(path: Path, whole: str) -> None:
    """Compare a file's length with what its header says; the layout is that of the safetensors format."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise ValueError(f"{str(path)!r} is cut short within its header; {whole}")
        header = _json(file.read(length), path, whole)
    tensors = (entry for name, entry in header.items() if name != "__metadata__")
    wanted = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    if size != wanted:
        raise ValueError(f"{str(path)!r} has {size} bytes where its header says {wanted}; {whole}")


def _json(text: bytes, path: Path, whole: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is no JSON ({error}); {whole}") from error
    # Some files, such as lists of ids, are no objects.
    return content if isinstance(content, dict) else {}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
