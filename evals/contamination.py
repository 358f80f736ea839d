"""Which problems of an evaluation stand in training data, by the overlap of word n-grams.

Words, numbers and arithmetic signs are compared, without case, punctuation, LaTeX spacing and sizing. The
share of a problem E in one training text d is |NG(d) & NG(E)| / |NG(E)|, NG being the set of n-grams; a
problem is contaminated when its share in a single text reaches a threshold. Eight words are the length that
PaLM (Chowdhery et al. 2022, sec. 8), s1 and Tülu 3 use; of the lengths that Singh et al. 2024 (arXiv
2411.03923) compare, longer ones miss more. Half of a problem in one training text is Tülu 3's threshold.
GPT-3 used 13 words. A problem with its numbers changed is found, being half a copy; paraphrases and
translations are not.
"""

import re
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from evals.problems import Problem
from evals.training_texts import Text, read_texts

NGRAM = 8
SHARE = 0.5
_QUOTED_WORDS = 30

_LAYOUT = (
    "left|right|big|Big|bigl|bigr|Bigl|Bigr|bigg|Bigg|quad|qquad|displaystyle|textstyle|limits|text|textbf|textit"
    "|mathrm|mathbf|mathit|operatorname|rm|bf|hspace|vspace|phantom"
)
# Layout commands match outside the group, so that they come out empty. A hyphen between words is punctuation.
_TOKENS = re.compile(
    rf"\\(?:{_LAYOUT})(?![A-Za-z])|([^\W\d_]+|\d+|[+*/=<>^%]|(?<![^\W\d_]{{2}})-|-(?![^\W\d_]{{2}}))"
)
_ALIASES = {"dfrac": "frac", "tfrac": "frac", "cdot": "*", "times": "*", "leq": "le", "geq": "ge"}
_SIGNS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "≤": " le ", "≥": " ge "})


def words_of(text: str) -> list[str]:
    """The words, numbers and signs of a text that are compared."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_SIGNS))
    return [_ALIASES.get(word, word) for word in map(str.lower, _TOKENS.findall(text)) if word]


@dataclass(frozen=True, slots=True)
class Overlap:
    """A problem that shares n-grams with a text: what share of its own, and the longest run of words."""

    problem: Problem
    share: float
    match: str


@dataclass(slots=True)
class _Sought:
    """A problem with the n-grams of it that were found, and the training text that holds most of them."""

    problem: Problem
    words: tuple[int, ...]
    grams: int
    found: set[tuple[int, ...]] = field(default_factory=set)
    share: float = 0.0
    where: str | None = None
    longest: tuple[int, ...] = ()
    exact: str | None = None


class ProblemIndex:
    """The n-grams of the problems; training words that no problem has are -1 and break n-grams.

    A problem of fewer than n words is sought as a whole.
    """

    def __init__(self, problems: Iterable[Problem], n: int) -> None:
        self.vocabulary: dict[str, int] = {}
        self.sought: list[_Sought] = []
        self.grams: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self.whole: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, problem in enumerate(problems):
            words = tuple(
                self.vocabulary.setdefault(word, len(self.vocabulary)) for word in words_of(problem.problem)
            )
            if not words:
                raise ValueError(f"problems: {problem.id} has no words to compare; leave it out")
            length = min(n, len(words))
            grams = {words[start : start + length] for start in range(len(words) - length + 1)}
            for gram in grams:
                self.grams[gram].append(number)
            self.whole[words].append(number)
            self.sought.append(_Sought(problem, words, len(grams)))
        lengths: dict[int, set[int]] = defaultdict(set)
        for gram in self.grams:
            lengths[gram[0]].add(len(gram))
        # By first word, so that the few short problems do not cost a look-up at every word.
        self.lengths = {first: sorted(each) for first, each in lengths.items()}
        self.spellings = list(self.vocabulary)

    def overlaps(self, content: str) -> list[Overlap]:
        """The problems that share an n-gram with a text, largest share first."""
        words, hits = self._hits(content)
        found = []
        for number, grams in hits.items():
            sought = self.sought[number]
            share = len(set(grams.values())) / sought.grams
            found.append(Overlap(sought.problem, share, self.in_words(_longest_run(grams, words))))
        return sorted(found, key=lambda overlap: (-overlap.share, overlap.problem.id))

    def look_up(self, text: Text) -> int:
        """Note every problem's n-grams in a training text; returns the words of the text."""
        words, hits = self._hits(text.content)
        for number, grams in hits.items():
            self._note(self.sought[number], grams, words, text.where)
        if hits:
            for number in self.whole.get(tuple(words), ()):
                if self.sought[number].exact is None:
                    self.sought[number].exact = text.where
        return len(words)

    def in_words(self, words: Sequence[int]) -> str:
        """The first words of a match."""
        return " ".join(self.spellings[word] for word in words[:_QUOTED_WORDS])

    def _hits(self, content: str) -> tuple[list[int], dict[int, dict[int, tuple[int, ...]]]]:
        """A text's words, and for each problem that shares any its n-grams by their place in the text."""
        words = [self.vocabulary.get(word, -1) for word in words_of(content)]
        hits: dict[int, dict[int, tuple[int, ...]]] = defaultdict(dict)
        for start, end in _known_runs(words):
            for at in range(start, end):
                for length in self.lengths.get(words[at], ()):
                    gram = tuple(words[at : at + length])
                    if at + length <= end and gram in self.grams:
                        for number in self.grams[gram]:
                            hits[number][at] = gram
        return words, hits

    def _note(self, sought: _Sought, grams: dict[int, tuple[int, ...]], words: list[int], where: str) -> None:
        distinct = set(grams.values())
        sought.found |= distinct
        share = len(distinct) / sought.grams
        if share <= sought.share:
            return
        sought.share, sought.where = share, where
        sought.longest = _longest_run(grams, words)


def _longest_run(grams: dict[int, tuple[int, ...]], words: list[int]) -> tuple[int, ...]:
    """The longest stretch of a text that n-grams cover without a gap."""
    longest: tuple[int, ...] = ()
    first = last = -2
    for at, gram in sorted(grams.items()):
        first = at if at != last + 1 else first
        last = at
        if at + len(gram) - first > len(longest):
            longest = tuple(words[first : at + len(gram)])
    return longest


def _known_runs(words: list[int]) -> Iterable[tuple[int, int]]:
    start = 0
    for at, word in enumerate(words):
        if word < 0:
            if at > start:
                yield start, at
            start = at + 1
    if len(words) > start:
        yield start, len(words)


def check(
    problems: Sequence[Problem], train: Sequence[str], *, n: int = NGRAM, share: float = SHARE
) -> dict[str, Any]:
    """Seek the problems in training data, read once as a stream; memory grows with the problems only.

    Args:
        problems: of one or more sets.
        train: files as `training_texts.read_texts` reads them, or names of problem sets.
        n: words of an n-gram; share: of a problem's n-grams in one training text that contaminates it.

    Returns:
        `sets`: for each set `problems`, `short` (of fewer than n words, sought as a whole), `any_overlap`
        (at least one n-gram found), `contaminated`, `whole` (every n-gram in one training text), `exact` (a
        training text is the problem and nothing else) and `mean_share`. `problems`: those with an overlap,
        largest share first: `share` in the training text at `where`, `found` in all texts together, the words
        of the `longest` match, `exact` (where, or null). `train`: what was read.

    Raises:
        ValueError: n or share out of range, no problems, or a file that cannot be read.
    """
    if n < 2:
        raise ValueError(f"n: {n} is too few words to tell texts apart; give 2 or more")
    if not 0 < share <= 1:
        raise ValueError(f"share: {share} is not in (0, 1]; 0.5 is half of a problem's n-grams")
    if not problems:
        raise ValueError("problems: none given; give at least one")
    index = ProblemIndex(problems, n)
    read = []
    for source in train:
        started = time.monotonic()
        rows, texts, words = 0, 0, 0
        for text in read_texts(source):
            rows = text.row
            texts += 1
            words += index.look_up(text)
        if not words:
            raise ValueError(f"train: {source} holds no text; token ids cannot be compared, give the text")
        seconds = round(time.monotonic() - started, 2)
        read.append({"source": source, "rows": rows, "texts": texts, "words": words, "seconds": seconds})
    by_set: dict[str, list[_Sought]] = defaultdict(list)
    for sought in index.sought:
        by_set[sought.problem.set].append(sought)
    hit = sorted((s for s in index.sought if s.found), key=lambda s: (-s.share, s.problem.id))
    return {
        "n": n,
        "share": share,
        "train": read,
        "sets": [_summary(name, members, n, share) for name, members in by_set.items()],
        "problems": [
            {
                "id": sought.problem.id,
                "set": sought.problem.set,
                "share": round(sought.share, 4),
                "found": round(len(sought.found) / sought.grams, 4),
                "where": sought.where,
                "exact": sought.exact,
                "longest": len(sought.longest),
                "match": index.in_words(sought.longest),
            }
            for sought in hit
        ],
    }


def _summary(name: str, members: list[_Sought], n: int, share: float) -> dict[str, Any]:
    return {
        "set": name,
        "problems": len(members),
        "short": sum(len(sought.words) < n for sought in members),
        "any_overlap": sum(bool(sought.found) for sought in members),
        "contaminated": sum(sought.share >= share for sought in members),
        "whole": sum(sought.share == 1 for sought in members),
        "exact": sum(sought.exact is not None for sought in members),
        "mean_share": round(sum(sought.share for sought in members) / len(members), 4),
    }


def in_words(result: dict[str, Any], examples: int) -> str:
    """The result as a table, with the worst `examples` of each set."""
    n, share = result["n"], result["share"]
    lines = [
        f"{source['source']}: {source['rows']} rows, {source['words']} words, {source['seconds']:.1f} s"
        for source in result["train"]
    ]
    heads = f"{'problems':>9}{'overlap':>9}{f'>= {share:.0%}':>9}{'whole':>7}{'exact':>7}{'mean share':>12}"
    lines += ["", f"{'set':<20}{heads}   ({n}-grams of words)"]
    for summary in result["sets"]:
        lines.append(
            f"{summary['set']:<20}{summary['problems']:>9}{summary['any_overlap']:>9}"
            f"{summary['contaminated']:>9}{summary['whole']:>7}{summary['exact']:>7}{summary['mean_share']:>12.1%}"
        )
        if summary["short"]:
            lines.append(f"  {summary['short']} problems of fewer than {n} words were sought as a whole")
        worst = [problem for problem in result["problems"] if problem["set"] == summary["set"]]
        for problem in worst[:examples]:
            kind = "exact" if problem["exact"] else f"{problem['share']:.0%}"
            lines.append(f"  {problem['id']}: {kind} at {problem['exact'] or problem['where']}")
            lines.append(f"    {problem['longest']} words: {problem['match']}")
    return "\n".join(lines)
