"""Multiple choice: a letter, alone or with its text: "C", "(C)", "C. 12", "\\textbf{(C) } 12"."""

import re

_CHOICE = re.compile(
    r"\s*(?:\$\s*)?(?:\\(?:text|textbf|mathrm|mathbf|textit)\s*\{)?\s*(?:(?:option|choice|answer)\s+)?"
    r"(?:\(\s*([A-Ja-j])\s*\)|([A-J])(?=\s*[.):}\]$]|\s*\Z))\s*[.):]?\s*\}?(.*)",
    re.DOTALL | re.IGNORECASE,
)
_ANOTHER = re.compile(r"(?:text\s*\{\s*)?(?:or|and|,|/)\s*(?:text\s*\{\s*)?\(?\s*[A-J]\b", re.IGNORECASE)
_SEVERAL = re.compile(r"[\s(]*([A-J](?:[\s,;]*(?:and\s+)?[A-J]){1,9})[\s).]*")


def same_choice(a: str, b: str) -> bool:
    """Whether both name the same letter, one of them perhaps with the choice's text."""
    if len(a) > 400 or len(b) > 400:
        return False
    several = [_SEVERAL.fullmatch(text.replace("and", " ")) for text in (a, b)]
    if several[0] is not None and several[1] is not None:
        letters = [
            sorted(mark for mark in match[1] if mark.isalpha()) for match in several if match is not None
        ]
        return letters[0] == letters[1]
    first, second = _choice(a), _choice(b)
    if first is None or second is None:
        return False
    return first[0] == second[0] and (not first[1] or not second[1])


def _choice(text: str) -> tuple[str, str] | None:
    """The letter and what follows it."""
    match = _CHOICE.fullmatch(text)
    if match is None:
        return None
    rest = match[3].strip(" $.{}\\:")
    if _ANOTHER.match(rest):
        return None
    if rest and not (match[1] or (text[match.start(3) - 1] in " .):}" and rest[0] not in "+-*/^_=<>(|")):
        return None
    return (match[1] or match[2]).upper(), rest
