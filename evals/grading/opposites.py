"""Words that turn an answer into another, which parsing drops as conditions: "with n even", "with n odd"."""

import re

_OPPOSITES = (
    ("even", "odd"),
    ("positive", "negative"),
    ("increasing", "decreasing"),
    ("maximum", "minimum"),
    ("greater", "less"),
    ("greatest", "least"),
    ("largest", "smallest"),
    ("more", "fewer"),
    ("prime", "composite"),
    ("rational", "irrational"),
    ("above", "below"),
    ("inside", "outside"),
    ("always", "never"),
)
_SIDE = {word: (number, side) for number, pair in enumerate(_OPPOSITES) for side, word in enumerate(pair)}
# Not behind a backslash: a command is no word.
_WORD = re.compile(r"(?<![A-Za-z\\])(?:" + "|".join(_SIDE) + r")(?![A-Za-z])", re.IGNORECASE)


def opposed(a: str, b: str) -> bool:
    """Whether one answer says a word and the other its opposite only, as "n even" and "n odd"."""
    said, other = _said(a), _said(b)
    return any((number, 1 - side) in other - said for number, side in said - other)


def _said(text: str) -> frozenset[tuple[int, int]]:
    return frozenset(_SIDE[word.lower()] for word in _WORD.findall(text))
