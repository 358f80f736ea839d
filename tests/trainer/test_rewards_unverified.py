"""What says whether a reply is right: correctness, equivalence, or in unverified stages neither."""

import pytest
from test_rewards import PROBLEM, completion

from evals.problems import Problem
from trainer.recipe.rl import RewardTerm
from trainer.rewards import build_rewards

FORMAT = RewardTerm(name="format")


def test_a_stage_without_a_verdict_is_refused_unless_it_says_so() -> None:
    with pytest.raises(ValueError, match=r"neither correctness nor equivalence .* rewards_unverified = true"):
        build_rewards([FORMAT])
    with pytest.raises(ValueError, match=r"correctness and equivalence both say what is right"):
        build_rewards([RewardTerm(name="correctness"), RewardTerm(name="equivalence")])


def test_without_one_correctness_is_measured_and_counts_for_nothing() -> None:
    rewards = build_rewards([FORMAT], unverified=True)
    ((right, wrong),) = rewards.score([[completion(), completion(answer="\\boxed{5}")]], 0)
    assert (right.parts["correctness"], wrong.parts["correctness"]) == (1, 0)
    assert right.total == wrong.total == 1


def test_the_order_may_be_broken_only_by_an_unverified_stage() -> None:
    terms = [RewardTerm(name="correctness", weight=0.5), FORMAT]
    with pytest.raises(
        ValueError, match=r"at least 1, or lower the others; or set rewards_unverified = true"
    ):
        build_rewards(terms)
    ((right, wrong),) = build_rewards(terms, unverified=True).score(
        [[completion(thinking=None), completion(answer="\\boxed{5}")]], 0
    )
    assert wrong.total > right.total


@pytest.mark.parametrize(("squash", "largest"), [("sigmoid", 1.0), ("tanh", 0.5), ("clip", 0.1)])
def test_a_learned_reward_is_held_to_its_range(squash: str, largest: float) -> None:
    """It may be as wide for a wrong reply over a right one: 1, 2, or twice the limit."""

    def terms(weight: float) -> list[RewardTerm]:
        options = {"path": "somewhere", "squash": squash}
        return [RewardTerm(name="correctness"), RewardTerm(name="learned", weight=weight, options=options)]

    build_rewards(terms(largest))
    with pytest.raises(ValueError, match="a wrong reply can score more than a right one"):
        build_rewards(terms(largest * 1.01))


def test_options_of_learned_are_told() -> None:
    for options, message in (
        ({}, "give either stage"),
        ({"stage": "a", "path": "b"}, "give either stage"),
        ({"path": "b", "limit": 3}, "limit: 3.0 is for squash 'clip'"),
    ):
        with pytest.raises(ValueError, match=message):
            build_rewards([RewardTerm(name="learned", options=options)], unverified=True)


def problem(answer: str) -> Problem:
    return Problem("free/1", PROBLEM.problem, answer)


@pytest.mark.parametrize(
    ("reference", "answer", "equivalent"),
    [
        ("Two and two make four, so the answer is 4.", "It is \\boxed{4}.", True),
        ("Two and two make four, so the answer is 4.", "It is \\boxed{5}.", False),
        ("The area is $\\frac{3}{4}\\pi$ square metres.", "So we get $0.75\\pi$", True),
        ("First 3, then 7. \\boxed{7}", "\\boxed{3}", False),
        ("4", "4", True),
    ],
)
def test_equivalence_reads_the_answer_out_of_a_reference(
    reference: str, answer: str, equivalent: bool
) -> None:
    rewards = build_rewards([RewardTerm(name="equivalence")])
    ((score,),) = rewards.score([[completion(answer=answer, problem=problem(reference))]], 0)
    assert score.parts == {"equivalence": equivalent, "correctness": equivalent}
    assert score.total == equivalent


def test_one_of_several_references_is_enough() -> None:
    rewards = build_rewards([RewardTerm(name="equivalence", options={"separator": "||"})])
    several = problem("The answer is 4.||Any even number: \\boxed{2}")
    group = [completion(answer=f"\\boxed{{{n}}}", problem=several) for n in (2, 3, 4)]
    assert [score.total for score in rewards.score([group], 0)[0]] == [1, 0, 1]


def test_equivalence_takes_correctness_place_in_the_order() -> None:
    with pytest.raises(ValueError, match="give equivalence a weight of at least 2"):
        build_rewards([RewardTerm(name="equivalence"), RewardTerm(name="format", weight=2.0)])
