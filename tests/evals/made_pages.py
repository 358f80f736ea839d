"""Runs whose text is hostile to whatever shows it, for tests of reports and pages."""

from dataclasses import replace
from pathlib import Path

from evals.problems import Problem
from evals.questions import store_questions
from evals.records import Record, TokenLogprobs
from tests.evals.made_runs import confidence, fork, no_think, trace, write

HOSTILE = (
    "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'> & \"q\" $a_b$ \\frac{"
)
PIECES = [
    "<think>",
    " so",
    HOSTILE,
    "\u2028",
    " \ud800",
    "\U0001f600",
    " \u202e7",
    "|",
    "*b*",
    "\x1b[31m",
    " 8",
    "</think>",
]
"""Tokens of a trace: markup, a line separator, a lone surrogate, an emoji, a bidi override, an escape."""


def hostile_run(directory: Path) -> Path:
    """Twelve problems, cut at 4 and 8; ids, levels, subjects, thinking and answers are hostile."""
    records: list[Record] = []
    for number in range(12):
        problem = f"{number} {HOSTILE} \ud800"
        wrong = "6" if number % 3 == 0 else "7"
        # A level of text on one problem would sort beside numbers: they are all text here.
        whole = with_pieces(trace(problem, 10, answer=wrong, subject=HOSTILE, level=f"{number % 2} <b>"))
        records += [whole, fork(whole, 4), fork(whole, 8, answer=HOSTILE.replace("{", ""))]
        records += [no_think(problem, answer="1", subject=HOSTILE, level=f"{number % 2} <b>")]
        records += [confidence(whole, "80 %")]
    write(directory, records, budgets=(0, 4, 8, "max"))
    asked = dict.fromkeys(record.problem for record in records)
    store_questions(directory, [Problem(problem, f"What is {HOSTILE}\n \udfff?", "7") for problem in asked])
    return directory


def with_pieces(record: Record) -> Record:
    """A trace of PIECES and its answer, with log probabilities."""
    answer = [record.answer, "<|im_end|>"]
    pieces = [*PIECES, *answer]
    count = len(pieces)
    entropy = [0.0, *(0.3 * place for place in range(count - 1))]
    logprobs = TokenLogprobs(pieces, [-0.5] * count, 5, entropy, [0.01] * count)
    return replace(
        record,
        thinking="".join(PIECES[1:-1]),
        answer_tokens=len(answer),
        token_ids=[90, *range(100, 100 + len(PIECES) - 2), 91, 200, 2],
        logprobs=logprobs,
    )
