"""The problem sets known by name: where each is published, and how its rows are read."""

from dataclasses import dataclass

from evals.problems import gold
from evals.problems.gold import Extractor


@dataclass(frozen=True, slots=True)
class HubSet:
    """A problem set on the Hugging Face hub.

    hub: its id; configs: loaded one after another; split; revision: the commit read, None for the newest.
    problem, id, level, subject, context: columns, None where there is none; `context` stands before the
    problem. answer: finds the gold answer of a row. size: how many problems. prompt: the preset it is asked
    with. files: other names that its file in a data folder may have. source: who made it, and its licence.
    """

    hub: str
    split: str
    answer: Extractor
    size: int
    prompt: str
    source: str
    configs: tuple[str | None, ...] = (None,)
    revision: str | None = None
    problem: str = "problem"
    id: str | None = None
    level: str | None = None
    subject: str | None = None
    context: str | None = None
    files: tuple[str, ...] = ()


_MATH_CONFIGS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
_AIME_RIGHTS = "problems (c) Mathematical Association of America; the licence is the compilation's"
_MATH_RIGHTS = "Hendrycks et al. 2021, MIT; problems from contests by way of AoPS"


def _math(split: str, size: int, files: tuple[str, ...] = ()) -> HubSet:
    return HubSet(
        hub="EleutherAI/hendrycks_math",
        split=split,
        answer=gold.boxed("solution"),
        size=size,
        prompt="qwen3",
        source=_MATH_RIGHTS,
        configs=_MATH_CONFIGS,
        level="level",
        subject="type",
        files=files,
    )


def _gsm8k(split: str, size: int, files: tuple[str, ...] = ()) -> HubSet:
    return HubSet(
        hub="openai/gsm8k",
        split=split,
        answer=gold.after_hashes("answer"),
        size=size,
        prompt="qwen3",
        source="Cobbe et al. 2021, MIT",
        configs=("main",),
        problem="question",
        files=files,
    )


SETS: dict[str, HubSet] = {
    "aime24": HubSet(
        hub="Maxwell-Jia/AIME_2024",
        split="train",
        answer=gold.integer("Answer"),
        size=30,
        prompt="qwen3",
        source=f"AIME I and II 2024, MIT; {_AIME_RIGHTS}",
        problem="Problem",
        id="ID",
    ),
    "aime25": HubSet(
        hub="math-ai/aime25",
        split="test",
        answer=gold.integer("answer"),
        size=30,
        prompt="qwen3",
        source=f"AIME I and II 2025, Apache-2.0; {_AIME_RIGHTS}",
        revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
        id="id",
    ),
    "aime26": HubSet(
        hub="MathArena/aime_2026",
        split="train",
        answer=gold.integer("answer"),
        size=30,
        prompt="qwen3",
        source=f"AIME I and II 2026, CC BY-NC-SA 4.0; {_AIME_RIGHTS}",
        id="problem_idx",
    ),
    "amc23": HubSet(
        hub="math-ai/amc23",
        split="test",
        answer=gold.integer("answer"),
        size=40,
        prompt="qwen3",
        source=f"AMC 12A and 12B 2023, those with integer answers; {_AIME_RIGHTS}",
        revision="80815d37005feb82cd7f8fbc6901d5d3eff43057",
        problem="question",
        id="id",
    ),
    "hmmt25": HubSet(
        hub="MathArena/hmmt_feb_2025",
        split="train",
        answer=gold.column("answer"),
        size=30,
        prompt="qwen3",
        source="HMMT February 2025, CC BY-NC-SA 4.0; problems (c) HMMT",
        id="problem_idx",
        subject="problem_type",
        files=("hmmt_feb_2025",),
    ),
    "math500": HubSet(
        hub="HuggingFaceH4/MATH-500",
        split="test",
        answer=gold.column("answer"),
        size=500,
        prompt="qwen3",
        source=f"Lightman et al. 2023, of MATH's test split; {_MATH_RIGHTS}",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        id="unique_id",
        level="level",
        subject="subject",
    ),
    "math": _math("test", 5000, files=("math_test",)),
    "math_train": _math("train", 7500),
    "gsm8k": _gsm8k("test", 1319, files=("gsm8k_test",)),
    "gsm8k_train": _gsm8k("train", 7473),
    "minerva": HubSet(
        hub="math-ai/minervamath",
        split="test",
        answer=gold.column("answer"),
        size=272,
        prompt="qwen3",
        source="Lewkowycz et al. 2022, OCWCourses: science problems of MIT OpenCourseWare",
        problem="question",
        files=("minerva_math", "minervamath"),
    ),
    "olympiadbench": HubSet(
        hub="Hothan/OlympiadBench",
        split="train",
        answer=gold.listed("final_answer"),
        size=674,
        prompt="qwen3",
        source="He et al. 2024, Apache-2.0; open-ended maths in English without pictures",
        configs=("OE_TO_maths_en_COMP",),
        revision="91184b52131e7fc9455fef848035173aea8cc01a",
        problem="question",
        id="id",
        subject="subfield",
        context="context",
    ),
}
"""Sets in the order they are listed. A revision is pinned where independent projects quote the same one."""


def canonical_name(name: str) -> str:
    """The name of the set that a file of that name holds: `hmmt_feb_2025` is hmmt25; others are their own."""
    for known, entry in SETS.items():
        if name == known or name in entry.files:
            return known
    return name
