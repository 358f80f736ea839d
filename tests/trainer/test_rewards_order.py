"""No wrong reply's reward exceeds a right one's, whatever else the two are like, at any step."""

import contextlib
import itertools
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evals.problems import Problem
from trainer.completion import Completion
from trainer.recipe.rl import RewardTerm
from trainer.rewards import build_rewards

PROBLEM = Problem("sum/1", "How many apples are 2 apples and 2 apples?", "4")
OTHERS = ("format", "language", "length", "mode_following", "overlong", "repetition")
thoughts = st.sampled_from([None, "", "\n", "Two and two.", "二加二", "<think>", "wait " * 60, "\\boxed{4}"])
answers = st.sampled_from(
    [
        "\\boxed{4}",
        "The answer is 4.",
        "四, \\boxed{4}",
        "\\boxed{5}",
        "5",
        "",
        "</think>4",
        "so " * 60 + "\\boxed{3}",
    ]
)


@st.composite
def completions(draw: st.DrawFn) -> Completion:
    thinking, answer = draw(thoughts), draw(answers)
    block = "" if thinking is None else f"<think>\n{thinking}\n</think>\n\n"
    return Completion(
        problem=PROBLEM,
        thinks=draw(st.booleans()),
        reply=draw(st.sampled_from(["", "Well, "])) + block + answer,
        thinking=thinking,
        answer=answer,
        tokens=draw(st.integers(1, 100)),
        thinking_tokens=0,
        max_tokens=100,
        budget=None,
        stop_cause="natural",
        finish_reason=draw(st.sampled_from(["stop", "length"])),
    )


@st.composite
def recipes(draw: st.DrawFn) -> list[RewardTerm]:
    """Terms whose correctness may or may not have weight enough, of any sign but for correctness."""
    names = draw(st.lists(st.sampled_from(OTHERS), unique=True, min_size=1))
    terms = [
        RewardTerm(name="correctness", weight=draw(st.floats(0.5, 4)), ramp_steps=draw(st.integers(0, 3)))
    ]
    for name in names:
        terms.append(
            RewardTerm(
                name=name,
                weight=draw(st.floats(-0.5, 1)),
                from_step=draw(st.integers(0, 6)),
                ramp_steps=draw(st.integers(0, 6)),
            )
        )
    return terms


@given(
    recipes(),
    st.lists(st.lists(completions(), min_size=1, max_size=5), min_size=1, max_size=3),
    st.integers(0, 15),
)
@settings(max_examples=150, deadline=None)
def test_no_wrong_reply_beats_a_right_one(
    terms: list[RewardTerm], groups: list[list[Completion]], step: int
) -> None:
    rewards = None
    with contextlib.suppress(ValueError):
        rewards = build_rewards(terms)
    assume(rewards is not None)
    scores = [score for group in rewards.score(groups, step) for score in group]
    right = [score.total for score in scores if score.parts["correctness"] == 1]
    wrong = [score.total for score in scores if score.parts["correctness"] == 0]
    for good, bad in itertools.product(right, wrong):
        assert good >= bad - 1e-9


GOOD: dict[str, Any] = {
    "thinks": True,
    "reply": "<think>\nTwo\n</think>\n\nIt is ",
    "thinking": "Two",
    "tokens": 10,
    "finish_reason": "stop",
}
BAD: dict[str, dict[str, Any]] = {
    "format": {"reply": "", "thinking": None},
    "mode_following": {"thinking": None},
    "language": {"thinking": "二加二"},
    "overlong": {"tokens": 100},
    "length": {"tokens": 100},
}
EXCHANGE = {"format": 1, "mode_following": 1, "language": 1, "overlong": 1, "length": 0.5}


def reply(answer: str, **members: Any) -> Completion:
    members = {**GOOD, **members}
    return Completion(
        problem=PROBLEM,
        **{**members, "reply": members["reply"] + answer},
        answer=answer,
        thinking_tokens=0,
        max_tokens=100,
        budget=None,
        stop_cause="natural",
    )


@pytest.mark.parametrize("name", BAD)
def test_the_rule_is_as_strict_as_it_must_be(name: str) -> None:
    """With the largest weight allowed, the worst right reply and the best wrong one tie."""
    largest = 1 / EXCHANGE[name]
    group = [reply("4", **BAD[name]), reply("5")]
    rewards = build_rewards([RewardTerm(name="correctness"), RewardTerm(name=name, weight=largest)])
    right, wrong = rewards.score([group], 0)[0]
    assert (right.parts["correctness"], wrong.parts["correctness"]) == (1, 0)
    assert right.total == pytest.approx(wrong.total)
    with pytest.raises(
        ValueError, match=f"give correctness a weight of at least {1.01:g}, or lower the others"
    ):
        build_rewards([RewardTerm(name="correctness"), RewardTerm(name=name, weight=largest * 1.01)])


def test_weights_of_several_terms_add_up() -> None:
    def terms(length: float) -> list[RewardTerm]:
        return [
            RewardTerm(name="correctness"),
            RewardTerm(name="format", weight=0.4),
            RewardTerm(name="mode_following", weight=0.3),
            RewardTerm(name="length", weight=length),
        ]

    build_rewards(terms(0.6))
    with pytest.raises(ValueError, match=r"format 0.4, mode_following 0.3, length 0.7\).* at least 1.05"):
        build_rewards(terms(0.7))


def test_a_penalty_counts_from_its_other_end() -> None:
    """A negative weight prefers long replies: right ones get at least -w / 2, wrong ones at most w / 2."""
    build_rewards([RewardTerm(name="correctness"), RewardTerm(name="length", weight=-1.0)])
    with pytest.raises(ValueError, match=r"at least 1\.1"):
        build_rewards([RewardTerm(name="correctness"), RewardTerm(name="length", weight=-1.1)])


def test_schedules_are_held_to_it_at_every_step() -> None:
    late = RewardTerm(name="correctness", from_step=5)
    with pytest.raises(
        ValueError, match="let correctness count from step 0, or the others not before step 5"
    ):
        build_rewards([late, RewardTerm(name="format", weight=0.1)])
    build_rewards([late, RewardTerm(name="format", weight=0.1, from_step=5)])
    # Half way up its ramp of one step correctness weighs 0.5.
    rising = RewardTerm(name="correctness", ramp_steps=1)
    build_rewards([rising, RewardTerm(name="format", weight=0.5)])
    with pytest.raises(ValueError, match=r"weights of step 0 .* at least 1\.2"):
        build_rewards([rising, RewardTerm(name="format", weight=0.6)])
    build_rewards([rising, RewardTerm(name="format", weight=0.6, from_step=1)])


def test_correctness_must_be_wanted() -> None:
    with pytest.raises(ValueError, match="correctness has weight 0"):
        build_rewards([RewardTerm(name="correctness", weight=0)])
