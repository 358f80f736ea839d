"""What a step logs about right and wrong replies, and which groups its update comes from."""

import math
from collections.abc import Sequence

import pytest

from evals.problems import Problem
from trainer.completion import Completion
from trainer.recipe.rl import Objective
from trainer.rewards import Scored
from trainer.rl.batches import make_rows, trained_tokens
from trainer.rl.difficulty import update_shares
from trainer.rl.groups import ScoredGroup
from trainer.rl.metrics import rollout_metrics
from trainer.rl.prompts import PromptGroup
from trainer.rollouts.types import Rollout, RolloutRequest

PROBLEM = Problem("p", "made", "1 + 1?", "2")


def group(rights: Sequence[bool], lengths: Sequence[int] = (), answers: Sequence[str] = ()) -> ScoredGroup:
    """A group of replies, rewarded 1 where they are right; the last one ran out of tokens."""
    lengths = lengths or [3] * len(rights)
    answers = answers or [r"\boxed{2}" if right else r"\boxed{3}" for right in rights]
    request = RolloutRequest((1, 2), 9, 0)
    rollouts, completions = [], []
    for number, (length, answer) in enumerate(zip(lengths, answers, strict=True)):
        reason = "length" if number == len(rights) - 1 else "stop"
        few = (5,) * length, (-1.0,) * length, (False,) * length, (0,) * length
        rollouts.append(Rollout(request, *few, length, "natural", reason))
        completions.append(
            Completion(PROBLEM, True, answer, "", answer, length, length, 9, None, "natural", reason)
        )
    prompt = PromptGroup(0, 0, 0, PROBLEM, True, None, (1, 2))
    scores = tuple(Scored(float(right), {"correctness": float(right)}) for right in rights)
    return ScoredGroup(prompt, tuple(rollouts), tuple(completions), scores)


def of(right: int, size: int = 8) -> ScoredGroup:
    return group([number < right for number in range(size)])


def test_shares_of_the_update_by_difficulty() -> None:
    """Groups of 8 with 7, 4, 2 and 8 right: sum |A| is 2 G p (1 - p), or that over the sample's deviation."""
    groups = [of(7), of(4), of(2), of(8)]
    plain = {right: 16 * right / 8 * (1 - right / 8) for right in (7, 4, 2)}
    found = update_shares(groups, std=False)
    assert found["update/near_solved"] == pytest.approx(plain[7] / sum(plain.values()))
    assert found["update/near_hopeless"] == pytest.approx(plain[2] / sum(plain.values()))
    whitened = {
        right: mass / (math.sqrt(8 / 7 * right / 8 * (1 - right / 8)) + 1e-4) for right, mass in plain.items()
    }
    found = update_shares(groups, std=True)
    assert found["update/near_solved"] == pytest.approx(whitened[7] / sum(whitened.values()))
    assert found["update/near_hopeless"] == pytest.approx(whitened[2] / sum(whitened.values()))
    # 3 in 4 is nearly solved, a little less is neither.
    assert update_shares([of(6)], std=True) == {"update/near_solved": 1.0, "update/near_hopeless": 0.0}
    assert update_shares([of(5)], std=True) == {"update/near_solved": 0.0, "update/near_hopeless": 0.0}
    assert update_shares([of(8), of(0)], std=True) == update_shares([], std=False) == {}


def test_lengths_and_answers_by_correctness() -> None:
    answers = [r"\boxed{2}", r"so it is \boxed{+2}", r"\boxed{5}", "", r"\boxed{5"]
    mixed = group([True, True, False, False, False], [2, 4, 6, 7, 8], answers)
    metrics = rollout_metrics([mixed, of(5, 5)])
    assert metrics["length/right"] == pytest.approx((2 + 4 + 5 * 3) / 7)
    assert metrics["length/wrong"] == 7
    # 2, 5 and none in one group, 2 in the other.
    assert metrics["distinct/answers"] == (3 + 1) / 2
    assert "length/wrong" not in rollout_metrics([of(5, 5)])


def test_trained_tokens_are_those_with_a_gradient() -> None:
    rows = make_rows([group([True, False, False], [2, 4, 8]), of(3, 3)], std=False)
    assert trained_tokens(rows, Objective(epochs=2)) == 2 * (2 + 4 + 8)
    assert trained_tokens(rows, Objective(mask_truncated=True)) == 2 + 4
    penalised = Objective.model_validate({"kl": {"coefficient": 0.1}})
    assert trained_tokens(rows, penalised) == 2 + 4 + 8 + 3 * 3
