"""`--set` overrides: `key=value` on the tables of a recipe, before they are checked.

A key is dotted. An element of a list (a stage, a reward, a source) is addressed by its name, by its kind
where no other is of that kind, or by its index: `stages.fusion.tokens`, `stages.cold_start.data.hub.path`,
`stages.general_rl.rewards.length.weight`. A list grows by one at the index behind its last. A value is TOML,
whole tables (`{low=8, high=64}`) and lists included; a text needs no quotes unless it reads as TOML.
"""

import re
import tomllib
from typing import Any

TEXT = re.compile(r"[A-Za-z_./~][^\"'\[\]{}#,=]*")
"""What is taken as text though it has no quotes: names and paths."""


def override(data: dict[str, Any], change: str) -> None:
    """Apply one `key=value` to `data`.

    Raises:
        ValueError: there is no value, it is not TOML, or the key leads nowhere.
    """
    key, separator, value = change.partition("=")
    if not separator or not key.strip():
        raise ValueError(f"--set {change!r}: expected key=value, as in stages.fusion.tokens=100000")
    parsed = _value(value.strip(), change)
    *parents, last = key.strip().split(".")
    place: Any = data
    for index, part in enumerate(parents):
        place = _step_into(place, part, ".".join(parents[: index + 1]), change)
    if isinstance(place, list):
        position = _position(place, last, change)
        place[position : position + 1] = [parsed]
    else:
        place[last] = parsed


def _value(text: str, change: str) -> Any:
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
        return value
    except (tomllib.TOMLDecodeError, ValueError) as error:
        if TEXT.fullmatch(text):
            return text
        raise ValueError(f"--set {change!r}: {text!r} is not a TOML value ({error})") from error


def _step_into(place: Any, part: str, path: str, change: str) -> Any:
    if isinstance(place, list):
        position = _position(place, part, change)
        if position == len(place):
            raise ValueError(f"--set {change!r}: {path} is not there yet; give it whole, as a table")
        found = place[position]
    else:
        found = place.setdefault(part, {})
    if not isinstance(found, dict | list):
        raise ValueError(f"--set {change!r}: {path} is {found!r}, which has no members")
    return found


def _position(elements: list[Any], part: str, change: str) -> int:
    """The index of a list's element; the list's length for the place behind its last."""
    if part.isdecimal() and int(part) <= len(elements):
        return int(part)
    found = [index for index, element in enumerate(elements) if label(element) == part]
    if not found:
        found = [index for index, element in enumerate(elements) if _kind(element) == part]
    if len(found) == 1:
        return found[0]
    known = ", ".join(label(element) or str(index) for index, element in enumerate(elements)) or "none"
    trouble = "more than one is named" if found else "none is named"
    raise ValueError(
        f"--set {change!r}: {trouble} {part!r}; there are {known}, or give an index from 0 to {len(elements)}"
    )


def _kind(element: Any) -> Any:
    return element.get("kind") if isinstance(element, dict) else None


def label(element: Any) -> str | None:
    """How an element of a list is addressed: its name, else its kind."""
    if not isinstance(element, dict):
        return None
    name = element.get("name") or element.get("kind")
    return name if isinstance(name, str) else None
