"""API keys: where they come from, what each may do, and how a request's key is found.

A key file is JSON or TOML, by its suffix, with one list `keys`:

    [[keys]]
    name = "alice"                        # in logs and errors; the key itself is never written anywhere
    key = "sk-..."                        # or: sha256 = "<hex digest of the key>"
    max_budget = 512                      # thinking tokens, a ceiling on what its requests may ask
    default_thinking = {deadline = 30}    # members of `thinking` for requests that do not name them
    max_concurrent_requests = 4
    may_update_weights = true             # with the server's --weight-updates
"""

import hashlib
import hmac
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.budget import RequestError, ThinkingBudget, with_members

KEY_VARIABLES = ("VLLM_API_KEY", "THINKDIAL_API_KEYS")
"""Environment variables that hold a key, or several with white space between them."""

MEMBERS = (
    "name",
    "key",
    "sha256",
    "max_budget",
    "default_thinking",
    "max_concurrent_requests",
    "may_update_weights",
)


class KeyFileError(ValueError):
    """A key file is wrong; the message names the file, the key and the member."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What one key may do.

    name: how logs and errors call it. max_budget: most thinking tokens of a choice that its requests may ask.
    default: replaces the server's default for its requests. max_concurrency: requests that may run at once.
    None is no limit, or no default of its own. may_update_weights: may have the server load a checkpoint.
    """

    name: str
    max_budget: int | None = None
    default: ThinkingBudget | None = None
    max_concurrency: int | None = None
    may_update_weights: bool = False


class KeyRing:
    """All keys of a server, by SHA-256 digest; empty if the server asks for none."""

    def __init__(self, keys: Mapping[bytes, ApiKey] | None = None) -> None:
        self._keys = dict(keys or {})

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def defaults(self) -> list[ThinkingBudget]:
        """The defaults that keys have of their own."""
        return [key.default for key in self._keys.values() if key.default is not None]

    def find(self, presented: Iterable[str]) -> ApiKey | None:
        """The key that one of the presented secrets is, in a time that does not depend on which."""
        found: ApiKey | None = None
        for secret in presented:
            digest = _digest(secret)
            for known, key in self._keys.items():
                if hmac.compare_digest(digest, known):
                    found = key
        return found


def load_keys(
    secrets: Iterable[str], file: Path | None, environment: Mapping[str, str], default: ThinkingBudget
) -> KeyRing:
    """The server's keys: those of the command line and the key file, else those of the environment.

    secrets: keys given on the command line. environment: as `os.environ`; read are `KEY_VARIABLES`.
    default: the server's default, which a key's own default adds to.
    Raises KeyFileError for a wrong file, ValueError for an empty key or one with white space.
    """
    plain = list(secrets)
    if not plain and file is None:
        plain = [secret for name in KEY_VARIABLES for secret in environment.get(name, "").split()]
    keys = {_digest(_secret(secret)): ApiKey(f"key-{number}") for number, secret in enumerate(plain, start=1)}
    if file is not None:
        for digest, key in _read(file, default):
            if digest in keys or key.name in {other.name for other in keys.values()}:
                raise KeyFileError(
                    f"{file}: key {key.name!r} is there twice; each needs its own name and key"
                )
            keys[digest] = key
    return KeyRing(keys)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _secret(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("an API key is empty or has white space or characters outside ASCII; it must not")
    return text


def _read(file: Path, default: ThinkingBudget) -> list[tuple[bytes, ApiKey]]:
    parsers = {".json": json.loads, ".toml": tomllib.loads}
    if file.suffix not in parsers:
        raise KeyFileError(f"{file}: its name must end in .json or .toml")
    try:
        content = parsers[file.suffix](file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise KeyFileError(f"{file}: not {file.suffix[1:].upper()}: {error}") from None
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or set(content) != {"keys"}:
        raise KeyFileError(f"{file}: it must hold one list, `keys`, of at least one key")
    return [_entry(f"{file}: keys[{index}]", entry, default) for index, entry in enumerate(entries)]


def _entry(where: str, entry: Any, default: ThinkingBudget) -> tuple[bytes, ApiKey]:
    if not isinstance(entry, dict):
        raise KeyFileError(f"{where} must be a table with the members {', '.join(MEMBERS)}")
    for name in entry:
        if name not in MEMBERS:
            raise KeyFileError(f"{where}.{name} is not known; a key has the members {', '.join(MEMBERS)}")
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise KeyFileError(f"{where}.name is {name!r}; it must be a text that is not empty")
    thinking = entry.get("default_thinking")
    if thinking is not None and not isinstance(thinking, dict):
        raise KeyFileError(f"{where}.default_thinking is {thinking!r}; it must be a table")
    try:
        own = with_members(default, thinking, f"{where}.default_thinking") if thinking is not None else None
    except RequestError as error:
        raise KeyFileError(str(error)) from None
    return _entry_digest(where, entry), ApiKey(
        name=name,
        max_budget=_count(where, entry, "max_budget", least=0),
        default=own,
        max_concurrency=_count(where, entry, "max_concurrent_requests", least=1),
        may_update_weights=_flag(where, entry, "may_update_weights"),
    )


def _entry_digest(where: str, entry: Mapping[str, Any]) -> bytes:
    secret, digest = entry.get("key"), entry.get("sha256")
    if (secret is None) == (digest is None):
        raise KeyFileError(f"{where} must have one of key and sha256")
    if digest is not None:
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise KeyFileError(f"{where}.sha256 must be 64 hexadecimal digits")
        return bytes.fromhex(digest)
    if not isinstance(secret, str):
        raise KeyFileError(f"{where}.key must be a text")
    try:
        return _digest(_secret(secret))
    except ValueError as error:
        raise KeyFileError(f"{where}.key: {error}") from None


def _count(where: str, entry: Mapping[str, Any], name: str, least: int) -> int | None:
    value = entry.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise KeyFileError(f"{where}.{name} is {value!r}; it must be an integer of at least {least}")
    return value


def _flag(where: str, entry: Mapping[str, Any], name: str) -> bool:
    value = entry.get(name, False)
    if not isinstance(value, bool):
        raise KeyFileError(f"{where}.{name} is {value!r}; it must be true or false")
    return value
