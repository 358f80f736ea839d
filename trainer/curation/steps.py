"""From a step's settings to the filter that does it."""

from trainer.curation.balance import TopicBalance
from trainer.curation.candidates import Filter
from trainer.curation.config import (
    BalanceStep,
    CurriculumStep,
    DecontaminateStep,
    DuplicatesStep,
    FormsStep,
    GuessableStep,
    PassRateStep,
    Step,
    VerifiableStep,
)
from trainer.curation.curriculum import Curriculum
from trainer.curation.decontaminate import Decontaminate
from trainer.curation.difficulty import PassRate
from trainer.curation.duplicates import NearDuplicates
from trainer.curation.forms import ExcludeForms
from trainer.curation.guessable import Guessable
from trainer.curation.lucky import LuckyGuesses
from trainer.curation.sampling import Sampler
from trainer.curation.verifiable import Verifiable


def is_sampled(step: Step) -> bool:
    """Whether a step asks a model."""
    return getattr(step, "samples", 0) > 0


def build_step(step: Step, seed: int, sampler: Sampler | None) -> Filter:
    """The filter of a step; `sampler` for steps that sample. Raises ValueError for no such set."""
    if isinstance(step, DecontaminateStep):
        return Decontaminate(step.problems, step.n, step.share)
    if isinstance(step, DuplicatesStep):
        return NearDuplicates(step.similarity, step.n, step.equal_answers)
    if isinstance(step, FormsStep):
        return ExcludeForms(step.exclude)
    if isinstance(step, VerifiableStep):
        return Verifiable(step.words)
    if isinstance(step, BalanceStep):
        return TopicBalance(step.most, step.by, seed)
    if isinstance(step, CurriculumStep):
        return Curriculum(step.by, step.labels)
    if isinstance(step, PassRateStep):
        assert sampler is not None
        return PassRate(sampler, step.samples, step.temperature, step.low, step.high)
    if isinstance(step, GuessableStep):
        assert sampler is not None
        return Guessable(sampler, step.samples, step.temperature, step.most)
    return LuckyGuesses(sampler, step.samples, step.fewer_than, step.temperature)
