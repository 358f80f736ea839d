"""Leave out problems that say nearly the same as an earlier one: exact Jaccard similarity of word n-grams.

Two sets with a similarity of t or more share one of the rarest n-grams of each: if each set is sorted by how
rare its n-grams are, the two share one within the first |A| - ceil(t |A|) + 1 of A and likewise of B (prefix
filtering; Chaudhuri, Ganti and Kaushik 2006, Bayardo, Ma and Srikant 2007). So only those are looked up, and
nothing is missed. Building the index takes time linear in the words; comparisons are few where n-grams are
varied, and quadratic only among problems that share their rarest n-grams, as mass-made copies do.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from evals.contamination import words_of
from evals.grading import equivalent
from trainer.curation.candidates import Candidate, Dropped, Outcome, question_text

NGRAM = 3
SIMILARITY = 0.8


class NearDuplicates:
    """Keeps the first of the candidates whose questions have a similarity of `similarity` or more.

    similarity: of the sets of word n-grams, |A & B| / |A | B|; 1 leaves out the same words in the same order
    only. Texts without any word are compared as they stand. equal_answers: keep those that the grader tells
    from the earlier one by their answer, such as the same question with other numbers.
    """

    def __init__(self, similarity: float = SIMILARITY, n: int = NGRAM, equal_answers: bool = False) -> None:
        self._similarity = similarity
        self._n = n
        self._equal_answers = equal_answers

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome:
        grams = self._grams(candidates)
        outcome = Outcome([], [])
        kept: dict[int, list[int]] = defaultdict(list)  # by each n-gram of a kept one's prefix
        for number, candidate in enumerate(candidates):
            own = grams[number]
            prefix = own[: len(own) - math.ceil(self._similarity * len(own) - 1e-9) + 1]
            near = {other for gram in prefix for other in kept.get(gram, ())}
            if self._equal_answers:
                answer = candidate.example.problem.answer
                near = {
                    other for other in near if equivalent(answer, candidates[other].example.problem.answer)
                }
            found = self._nearest(own, sorted(near), grams)
            if found is None:
                outcome.kept.append(candidate)
                for gram in prefix:
                    kept[gram].append(number)
                continue
            other, similarity = found
            first = candidates[other].example.problem
            evidence = {
                "of": first.id,
                "similarity": round(similarity, 4),
                "problem": first.problem,
                "answer": first.answer,
            }
            reason = "the same words" if similarity == 1 else "nearly the same words"
            outcome.dropped.append(Dropped(candidate, reason, evidence))
        return outcome

    def _grams(self, candidates: Sequence[Candidate]) -> list[list[int]]:
        """The n-grams of each question as numbers, rarest first; equal n-grams have equal numbers."""
        vocabulary: dict[str, int] = {}
        numbers: dict[tuple[int, ...] | str, int] = {}
        found = []
        for candidate in candidates:
            text = question_text(candidate.example)
            words = [vocabulary.setdefault(word, len(vocabulary)) for word in words_of(text)]
            length = min(self._n, len(words))
            starts = range(len(words) - length + 1) if words else ()
            grams: list[tuple[int, ...] | str] = [tuple(words[start : start + length]) for start in starts]
            found.append({numbers.setdefault(gram, len(numbers)) for gram in grams or [text.strip()]})
        counts = Counter(gram for grams_of_one in found for gram in grams_of_one)
        return [sorted(grams_of_one, key=lambda gram: (counts[gram], gram)) for grams_of_one in found]

    def _nearest(
        self, own: list[int], others: Sequence[int], grams: Sequence[list[int]]
    ) -> tuple[int, float] | None:
        """The most similar of `others` and its similarity, the earliest of equals; None if none is near."""
        best: tuple[int, float] | None = None
        mine = set(own)
        for other in others:
            least, most = sorted((len(own), len(grams[other])))
            if least < (best[1] if best else self._similarity) * most - 1e-9:
                continue
            shared = len(mine.intersection(grams[other]))
            similarity = shared / (len(own) + len(grams[other]) - shared)
            if similarity >= self._similarity - 1e-9 and (best is None or similarity > best[1]):
                best = other, similarity
        return best
