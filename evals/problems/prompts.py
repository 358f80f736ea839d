"""How a problem is asked: templates that others published, each with its source, and a default for each set.

A template holds `{problem}` once, which is replaced as text: braces in problems and elsewhere in a template
mean nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from evals.problems.catalogue import SETS, canonical_name
from evals.problems.problem import Problem

SLOT = "{problem}"


@dataclass(frozen=True, slots=True)
class Preset:
    """A prompt template, what it is for, and where it was published."""

    name: str
    template: str
    use: str
    source: str

    def fill(self, problem: str) -> str:
        """The prompt of one problem."""
        before, _, after = self.template.partition(SLOT)
        return before + problem + after


_BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
_PRESETS = (
    Preset("plain", SLOT, "the problem and nothing else", "ours"),
    Preset(
        "qwen3",
        f"{SLOT}\n{_BOXED}",
        "maths with a boxed answer; also the advice for Qwen2.5-Math, QwQ and DeepSeek-R1",
        "words: Qwen3 model cards, best practices; layout: QwenLM/QwQ eval/data/aime24.jsonl",
    ),
    Preset(
        "deepseek-r1",
        f"{SLOT}\n{_BOXED}",
        "maths with a boxed answer, no system prompt",
        "deepseek-ai/DeepSeek-R1 README, usage recommendations",
    ),
    Preset(
        "qwen3-choice",
        f"{SLOT}\nPlease show your choice in the `answer` field with only the choice letter, "
        'e.g., `"answer": "C"`.',
        "multiple choice; the problem text holds the choices",
        "Qwen3 model cards, best practices",
    ),
    Preset(
        "matharena-aime",
        "Put your final answer within \\boxed{}.\nThe answer is an integer between 0 and 999 inclusive.\n\n"
        + SLOT,
        "AIME",
        "eth-sri/matharena configs/competitions/aime",
    ),
    Preset(
        "matharena",
        f"Put your final answer within \\boxed{{}}.\n\n{SLOT}",
        "HMMT and other contests with a final answer",
        "eth-sri/matharena configs/competitions/hmmt",
    ),
    Preset(
        "lm-eval",
        f"Question: {SLOT}\nAnswer:",
        "AIME as lm-eval asks it; GSM8K likewise, but without its five worked examples",
        "lm-eval 0.4.13 tasks/aime, tasks/gsm8k/gsm8k.yaml",
    ),
    Preset(
        "lm-eval-cot",
        f"Q: {SLOT}\nA: Let's think step by step.",
        "GSM8K, zero-shot chain of thought",
        "lm-eval 0.4.13 tasks/gsm8k/gsm8k-cot-zeroshot.yaml",
    ),
    Preset(
        "lm-eval-minerva",
        f"Problem:\n{SLOT}\n\nSolution:",
        "MATH as Minerva was asked, but without its four worked examples",
        "lm-eval 0.4.13 tasks/minerva_math/utils.py",
    ),
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _PRESETS}


def preset_of(set_name: str, preset: str | None = None) -> Preset:
    """The preset that problems of a set are asked with.

    preset: a name of PRESETS, a template (a text that holds `{problem}`), or the path of a file that holds
    one; None is the set's default, `plain` for thinkmath and for files that hold no known set.
    Raises ValueError for anything else, and for a template without `{problem}` or with more than one.
    """
    if preset is None:
        known = SETS.get(canonical_name(set_name))
        return PRESETS[known.prompt if known else "plain"]
    if preset in PRESETS:
        return PRESETS[preset]
    if SLOT in preset:
        return _template("template", preset, source="given as text")
    path = Path(preset)
    if not path.is_file():
        raise ValueError(
            f"prompt: {preset!r} is no preset, template or file; give one of {', '.join(PRESETS)}, "
            f"a text that holds {SLOT}, or the path of a file that does"
        )
    text = path.read_text(encoding="utf-8").removesuffix("\n")
    return _template(path.name, text, source=f"file {path}")


def prompt(problem: Problem, preset: str | None = None) -> str:
    """What a model is asked; `preset` as in `preset_of`."""
    return preset_of(problem.set, preset).fill(problem.problem)


def _template(name: str, text: str, source: str) -> Preset:
    if text.count(SLOT) != 1:
        raise ValueError(f"prompt: {text[:80]!r} holds {SLOT} {text.count(SLOT)} times; it must hold it once")
    return Preset(name, text, use="your own", source=source)
