"""What a curation file may say: sources, the model that is sampled, and the steps in their order."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from evals.contamination import NGRAM, SHARE
from trainer.curation import duplicates
from trainer.curation.forms import Form
from trainer.recipe.data import Source
from trainer.recipe.rl import Rollouts
from trainer.recipe.section import Section


class DecontaminateStep(Section):
    """Drop what stands in evaluation sets; paraphrases are not found."""

    kind: Literal["decontaminate"]
    problems: list[str] = Field(min_length=1)
    """Sets as `thinkdial eval sweep --problems` takes them."""
    n: int = Field(default=NGRAM, ge=2)
    share: float = Field(default=SHARE, gt=0, le=1)
    """Of an evaluation problem's n-grams, in one text."""


class DuplicatesStep(Section):
    """Drop problems that say nearly the same as an earlier one."""

    kind: Literal["duplicates"]
    similarity: float = Field(default=duplicates.SIMILARITY, gt=0, le=1)
    n: int = Field(default=duplicates.NGRAM, ge=1)
    equal_answers: bool = False
    """Keep those with another answer than the earlier one's."""


class FormsStep(Section):
    """Drop questions of forms that can be guessed or not be checked."""

    kind: Literal["forms"]
    exclude: list[Form] = Field(
        default=["multiple_choice", "true_false", "proof", "several_questions"], min_length=1
    )


class VerifiableStep(Section):
    """Drop problems whose answer our grader cannot check."""

    kind: Literal["verifiable"]
    words: int = Field(default=3, ge=0)
    """Most words of an answer."""


class PassRateStep(Section):
    """Keep problems whose pass rate lies in a band; 0 to 0 over 8 tries keeps those that fail all eight."""

    kind: Literal["pass_rate"]
    samples: int = Field(default=10, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    low: float = Field(default=0.1, ge=0, le=1)
    high: float = Field(default=0.9, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> "PassRateStep":
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}; give a band that holds a pass rate")
        return self


class GuessableStep(Section):
    """Drop problems that are guessed without thinking."""

    kind: Literal["guessable"]
    samples: int = Field(default=8, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    most: int = Field(default=0, ge=0)
    """Right guesses that a kept problem may have."""


class LuckyStep(Section):
    """Drop right answers that the thinking does not reach, in worked replies or in tries."""

    kind: Literal["lucky"]
    samples: int = Field(default=0, ge=0)
    """0 judges the sources' own replies."""
    fewer_than: int = Field(default=3, gt=0)
    """Right tries from which a problem is not called lucky."""
    temperature: float = Field(default=1.0, gt=0)


class BalanceStep(Section):
    """Keep at most so many of one topic."""

    kind: Literal["balance"]
    most: int = Field(gt=0)
    by: Literal["subject", "level", "set"] = "subject"


class CurriculumStep(Section):
    """Order from easy to hard; by pass rate, label with levels from 1."""

    kind: Literal["curriculum"]
    by: Literal["level", "pass_rate"] = "level"
    labels: int = Field(default=5, gt=1)


Step = Annotated[
    DecontaminateStep
    | DuplicatesStep
    | FormsStep
    | VerifiableStep
    | PassRateStep
    | GuessableStep
    | LuckyStep
    | BalanceStep
    | CurriculumStep,
    Field(discriminator="kind"),
]


class SampledModel(Section):
    """Whose replies decide, in the steps that sample."""

    checkpoint: Path
    rollouts: Rollouts
    """Temperature is each step's own; replies without thinking have `answer_tokens` tokens."""


class Curation(Section):
    """A curation file."""

    seed: int = 0
    sources: list[Source] = Field(min_length=1)
    """Read whole, in order, one after another; endless ones need a limit."""
    model: SampledModel | None = None
    steps: list[Step] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> "Curation":
        for number, source in enumerate(self.sources):
            if "weight" in source.model_fields_set:
                raise ValueError(f"sources.{number}.weight: all of each source is read; leave it out")
            if source.kind in ("thinkmath", "reasoning_gym") and source.limit is None:
                raise ValueError(
                    f"sources.{number}.limit: {source.kind} is endless; give a number of problems"
                )
        sampling = [step.kind for step in self.steps if getattr(step, "samples", 0)]
        if sampling and self.model is None:
            raise ValueError(f"model: step {sampling[0]!r} samples; give a checkpoint and rollouts")
        measured = False
        for number, step in enumerate(self.steps):
            measured = measured or step.kind == "pass_rate"
            if step.kind == "curriculum" and step.by == "pass_rate" and not measured:
                raise ValueError(f"steps.{number}.by: 'pass_rate' needs a step of kind 'pass_rate' before it")
        return self


def load_curation(path: Path) -> Curation:
    """Read and check a curation file.

    Relative paths in it are relative to the working directory. Raises ValueError naming every wrong member.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read ({error.strerror}); give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} is not TOML ({error})") from error
    try:
        return Curation.model_validate(data)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']} (got {item['input']!r})"
            for item in error.errors()
        ]
        raise ValueError(f"{path}: " + "; ".join(problems)) from error
