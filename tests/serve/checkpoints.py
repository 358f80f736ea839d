"""Checkpoints that tests make from the shipped model."""

import shutil
from collections.abc import Callable
from pathlib import Path

from serve import DEFAULT_MODEL
from serve.profile import PROFILE


def checkpoint(folder: Path, edit: Callable[[str, str], str]) -> Path:
    """The shipped model with its texts edited; `edit` gets a file's name and text."""
    left_out = shutil.ignore_patterns("thinking_format.json", PROFILE, "*.md")
    shutil.copytree(DEFAULT_MODEL, folder, ignore=left_out)
    for name in ("tokenizer.json", "chat_template.jinja"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(edit(name, text), encoding="utf-8")
    return folder
