"""One spelling for what is written in many: Unicode signs, degrees, thousands, escapes gone wrong."""

import re

from evals.grading.vocabulary import GREEK_LETTERS

_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ",
    "⋅": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "∗": "*", "÷": "/", "∕": "/", "⁄": "/",
    "√": r"\sqrt ", "∛": r"\sqrt[3] ", "∜": r"\sqrt[4] ", "∞": r"\infty ", "≤": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∖": r"\setminus ",
    "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "±": r"\pm ", "∓": r"\mp ",
    "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ",
    "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "…": r"\ldots ", "⋯": r"\ldots ",
    "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"', "∧": r"\land ", "∨": r"\lor ", "→": r"\to ",
    "⇒": r"\implies ", "⟹": r"\implies ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∣": "|",
    "≅": r"\cong ", "∼": r"\sim ", "∠": r"\angle ", "△": r"\triangle ", "‖": r"\|",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}", "⅕": r"\frac{1}{5}", "⅛": r"\frac{1}{8}", "€": r"\$", "£": r"\$",
    "¥": r"\$", "、": ",", "。": ".", "【": "[", "】": "]", "\u200b": "", "\ufeff": "", "\u2062": "",
}  # fmt: skip
_UNICODE = str.maketrans(
    _SIGNS
    | {letter: f"\\{name} " for letter, name in GREEK_LETTERS.items()}
    | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width forms
    | dict.fromkeys(
        "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
    )
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿˣ", "0123456789+-()nx")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿˣ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+")
_HALF = re.compile("(?<=[0-9])(?=[½⅓⅔¼¾⅕⅛])")

_DEGREE = re.compile(r"\^\s*+(?:\\circ(?![A-Za-z])|\{\s*+\\circ\s*+\}|\\degree(?![A-Za-z])|o(?![A-Za-z0-9]))")
_SEPARATOR = re.compile(
    r"(?<=[0-9])(?:\s?\{\s?,\s?\}|\\,|\\!,|,\\!\s?|\{\\,\}|\{,\\!\}|\\ |\\;|~)(?=[0-9]{3}(?![0-9]))"
)
_SPACED_THOUSANDS = re.compile(r"(?<![0-9.,^_}])[0-9]{1,3}(?: [0-9]{3})+(?![0-9])(?! ?(?:/|\\(?![)\]])))")
_ORDINAL = re.compile(
    r"(?<=[0-9])\s*+(?:\^\s*+)?\{?\s*+(?:\\(?:text|mathrm|textsuperscript|rm|mbox)\s*+\{?)?\s*+"
    r"(?:st|nd|rd|th)\b(?![A-Za-z])\s*+\}{0,2}"
)
# Text that went through an escape too many (\\frac) or too few (a form feed and "rac").
_DOUBLED = re.compile(
    r"(?<!\\)\\\\(?=(?:[dtc]?frac|sqrt|left|right|begin|end|pi|text|boxed|cdot|times|infty|pm|cup|cap|in"
    r"|leq?|geq?|neq?|circ|theta|alpha|beta|sin|cos|tan|ln|log|quad|mathrm|mathbb|bigg?|binom|overline|angle)(?![a-z]))"
)
_LOST_ESCAPE = re.compile(
    r"\x0c(?=rac|orall)|\x08(?=oxed|egin|eta|inom|ar\b)|\t(?=ext|imes|an\b|heta|frac|au\b|o\b)"
    r"|\r(?=ight|ho\b)|\x0b(?=ec|ert)|\n(?=eq\b|e\b|u\b)"
)
_LOST_LETTERS = {"\x0c": "\\f", "\x08": "\\b", "\t": "\\t", "\r": "\\r", "\x0b": "\\v", "\n": "\\n"}
_GLUED_SPACE = re.compile(r"\\(q?quad)(?=[A-Za-z])")
_PRIMES = re.compile(r"\^\s*+\{?\s*+((?:\\prime\s*+)+)\}?")
_RAISED_TAG = re.compile(r"<sup>([^<>]{1,40})</sup>")
_NULL_DELIMITER = re.compile(r"\\(?:left|right)\s*+\.")


def repair(text: str) -> str:
    """`text` with LaTeX commands as they were before an escape too many or too few."""
    if _DOUBLED.search(text):
        text = _DOUBLED.sub(r"\\", text).replace("\\\\\\\\", "\\\\")
    return _LOST_ESCAPE.sub(lambda lost: _LOST_LETTERS[lost.group()], text)


def spell(text: str) -> str:
    """`text` with Unicode signs, raised and lowered digits, degrees and thousands written as LaTeX does."""
    if not text.isascii():
        text = _HALF.sub(" ", text)
        text = _RAISED_RUN.sub(lambda run: "^{" + run.group().translate(_RAISED) + "}", text)
        text = _LOWERED_RUN.sub(lambda run: "_{" + run.group().translate(_LOWERED) + "}", text)
        text = text.translate(_UNICODE)
    if "\\" in text or "\x0c" in text:
        text = _GLUED_SPACE.sub(r"\\\1 ", repair(text))
        text = _PRIMES.sub(lambda marks: "'" * marks[1].count("prime"), text)
        text = _NULL_DELIMITER.sub(" ", text)
    if "<sup" in text:
        text = _RAISED_TAG.sub(r"^{\1}", text)
    if "^" in text:
        text = _DEGREE.sub(r"\\degree ", text)
    text = _ORDINAL.sub(" ", text)
    text = _SEPARATOR.sub("", text)
    return _SPACED_THOUSANDS.sub(lambda run: run.group().replace(" ", ""), text)
