"""Whether a reply keeps to the problem's script."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from trainer.completion import Completion
from trainer.recipe.section import Section
from trainer.rewards.terms import Range

_COMMAND = re.compile(r"\\[A-Za-z]+")  # of LaTeX: in Latin letters whatever the language
_WORD = re.compile(r"[^\W\d_]+")
_JAPANESE = frozenset({"HIRAGANA", "KATAKANA", "CJK"})
_KOREAN = frozenset({"HANGUL", "CJK"})
_SYLLABIC = _JAPANESE | _KOREAN  # one character may be a word; elsewhere it is a variable


class Language(Section):
    """The share of a reply's letters that are in the problem's script (DeepSeek-R1, section 2.3.2).

    R1 takes the share of words in the target language, which needs a model of languages; scripts can be told
    without one. So this sees Chinese in an English reply, and not French in one: languages of one script are
    the same here. Single letters (variables) and LaTeX commands do not count; an early-stop text does. 1
    where there is nothing to compare.
    """

    right: ClassVar[Range] = Range(0.0, 1.0)
    wrong: ClassVar[Range] = Range(0.0, 1.0)

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        return [self._share(completion) for completion in group]

    def _share(self, completion: Completion) -> float:
        problem = completion.problem
        asked = _letters(" ".join([problem.problem, *(text for _, text in problem.messages)]))
        written = _letters(f"{completion.thinking or ''} {completion.answer}")
        if not asked or not written:
            return 1.0
        expected = _family(asked)
        return sum(count for script, count in written.items() if script in expected) / written.total()


def _family(letters: Counter[str]) -> frozenset[str]:
    """The scripts that a text in this one's language may hold."""
    if letters["HIRAGANA"] + letters["KATAKANA"]:
        return _JAPANESE
    if letters["HANGUL"]:
        return _KOREAN
    return frozenset({letters.most_common(1)[0][0]})


def _letters(text: str) -> Counter[str]:
    """Letters of each script in the text's words."""
    counts: Counter[str] = Counter()
    for word in _WORD.findall(_COMMAND.sub(" ", text)):
        scripts = [_script(letter) for letter in word]
        if len(word) > 1 or scripts[0] in _SYLLABIC:
            counts.update(scripts)
    return counts


@lru_cache(maxsize=65536)
def _script(letter: str) -> str:
    """First word of the character's Unicode name, which is its script's: LATIN, CJK, CYRILLIC."""
    return unicodedata.name(letter, "UNKNOWN").split()[0]
