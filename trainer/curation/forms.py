"""Leave out questions of forms whose answers can be guessed, or cannot be checked by comparing one answer.

Multiple choice, true or false, and proofs are what Kimi k1.5 excludes (arXiv 2501.12599, section 2.1),
several questions at once what the Qwen3 report's query filter does (section 4.1). All are found by wording.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from evals.problems import Problem
from trainer.curation.candidates import Candidate, Outcome, each

Form = Literal["multiple_choice", "true_false", "proof", "several_questions"]

# (A) 1 (B) 2 (C) 3, \textbf{(A)}, or A. B. C. at the beginning of lines; three of one style in their order.
_CHOICE_STYLES = (
    re.compile(r"\(([A-E])\)"),
    re.compile(r"(?:^|\n)\s*([A-E])[.):]\s", re.MULTILINE),
    re.compile(r"(?:^|\s)([A-E])\)\s"),
)
_LETTERS = re.compile(r"(?:\\text(?:bf)?\{)?\(?[A-E]\)?\}?(?:\s*(?:,|and)\s*\(?[A-E]\)?)*")
_TRUTH = re.compile(
    r"\btrue or false\b|\b(?:true|correct)[ ,]+or (?:is it )?(?:false|incorrect)\b|\byes or no\b",
    re.IGNORECASE,
)
_TRUTH_ANSWERS = ("true", "false", "yes", "no")
_BEGINNING = (
    r"(?:\A|[.!?;:]\s+|\n\s*|[,]\s+(?:and|then|hence)\s+)(?:\([a-z0-9]\)\s*)?"
    r"(?:(?:Hence|Then|Also|Now|Please)[, ]+)?"
)
_PROOF = re.compile(
    rf"{_BEGINNING}(?:prove|show|disprove|demonstrate|verify|justify)\b(?!\s+(?:your|all|the)\s+(?:work|steps))"
    r"(?:\s+(?:that|why|the|by|or|from|your|rigorously|\$|\\))|\bgive an? (?:\w+ )?proof\b",
    re.IGNORECASE,
)
_PARTS = (
    re.compile(r"(?:^|\s)\(?([a-d])\)\s"),
    re.compile(r"(?:^|\s)\((i{1,3}|iv)\)\s"),
    re.compile(r"(?:^|\n)\s*([1-4])[.)]\s"),
)
_FIGURE = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|``[^']*''")
_QUESTION = re.compile(r"(?<=[\w$)}\].'])\?(?=[\s)\"'$\\]|\Z)")
_ASKS = re.compile(
    r"(?:\A|[.!?;:]\s+|\n\s*)(?:\(?[a-d1-4i]+[.)]\s*)?(?:find|determine|compute|calculate|evaluate|what|how)\b",
    re.IGNORECASE,
)


class ExcludeForms:
    """Drops candidates whose question has one of `forms`."""

    def __init__(self, forms: Sequence[Form] = tuple(Form.__args__)) -> None:  # type: ignore[attr-defined]
        self._forms = forms

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome:
        return each(candidates, self._judge)

    def _judge(self, candidate: Candidate) -> tuple[str, Mapping[str, Any]] | None:
        for form in self._forms:
            sign = SIGNS[form](candidate.example.problem)
            if sign is not None:
                return form.replace("_", " "), {"sign": sign}
        return None


def multiple_choice(problem: Problem) -> str | None:
    """The options, or the letter that is the answer to a question with options."""
    for style in _CHOICE_STYLES:
        labels = [match[1] for match in style.finditer(_FIGURE.sub(" ", problem.problem))]
        needed = 2 if _LETTERS.fullmatch(problem.answer.strip()) else 3
        if labels[:needed] == list("ABC"[:needed]):
            return "options " + ", ".join(labels)
    return None


def true_false(problem: Problem) -> str | None:
    """The question for a truth value, or an answer that is one."""
    asked = _TRUTH.search(problem.problem)
    if asked:
        return asked[0]
    answer = re.sub(r"\\text\w*|\\mathrm|[{}\s.$]", "", problem.answer).lower()
    return f"answer {problem.answer!r}" if answer in _TRUTH_ANSWERS else None


def proof(problem: Problem) -> str | None:
    """The words that ask for a proof."""
    asked = _PROOF.search(problem.problem)
    return asked[0].strip(" .,;:!?\n") if asked else None


def several_questions(problem: Problem) -> str | None:
    """Parts (a), (b) that ask, or more than one sentence with a question mark outside quotations."""
    text = _QUOTED.sub(" ", problem.problem)
    for style in _PARTS:
        labels = list(style.finditer(text))
        ends = [*(label.start() for label in labels[1:]), len(text)][: len(labels)]
        asking = [
            label[1]
            for label, end in zip(labels, ends, strict=True)
            if "?" in text[label.end() : end] or _ASKS.match(text[label.end() : end].lstrip())
        ]
        if len(asking) > 1:
            return f"parts {', '.join(asking)}"
    questions = len(_QUESTION.findall(text))
    return f"{questions} question marks" if questions > 1 else None


SIGNS: dict[Form, Callable[[Problem], str | None]] = {
    "multiple_choice": multiple_choice,
    "true_false": true_false,
    "proof": proof,
    "several_questions": several_questions,
}
