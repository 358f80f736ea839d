"""The budget that a request gets where the model has a profile, and what is wrong without one."""

from pathlib import Path

import pytest

from serve.budget import RequestError, ThinkingBudget
from serve.grants import Grant, grant, measured_curve
from serve.profile import ThinkingProfile, read_profile
from tests.serve.made_profile import CURVE, row, write_profile


@pytest.fixture
def profile(tmp_path: Path) -> ThinkingProfile:
    return read_profile(write_profile(tmp_path / "profile.json"))


def measured(budget: int | None, accuracy: float, **members: object) -> Grant:
    return Grant(budget, budget, calibrated=True, expected_accuracy=accuracy, **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (ThinkingBudget(effort="minimal"), measured(4, 0.3)),
        (ThinkingBudget(effort="high"), measured(24, 0.85)),
        (ThinkingBudget(effort="max"), measured(None, 0.95)),
        (ThinkingBudget(effort="low", family="chain"), measured(12, 0.35)),
        (ThinkingBudget(target_accuracy=0.6), measured(12, 0.6)),
        (ThinkingBudget(target_accuracy=0.95), measured(None, 0.95)),
        (ThinkingBudget(target_accuracy=0.6, family="chain"), measured(32, 0.6)),
        (ThinkingBudget(max_cost=11), measured(12, 0.6)),
        (ThinkingBudget(max_cost=0), measured(0, 0.2)),
        (ThinkingBudget(max_cost=25), measured(None, 0.95)),
        # What costs too much is not bought, whoever asks for it.
        (ThinkingBudget(effort="high", max_cost=11), measured(12, 0.6)),
        (ThinkingBudget(effort="low", max_cost=11), measured(10, 0.5)),
        (ThinkingBudget(target_accuracy=0.9, max_cost=14), measured(16, 0.8)),
        (ThinkingBudget(100, max_cost=14), measured(16, 0.8)),
        # Not read off the profile, but its accuracy is known.
        (ThinkingBudget(12), Grant(12, 12, expected_accuracy=0.6)),
        (ThinkingBudget(), Grant(None, None, expected_accuracy=0.95)),
        (ThinkingBudget(12, family="chain"), Grant(12, 12, expected_accuracy=0.35)),
        # The family was not measured below 8 tokens.
        (ThinkingBudget(4, family="chain"), Grant(4, 4)),
        (ThinkingBudget(effort="high", ceiling=12), Grant(12, 24, "ceiling", True, 0.6)),
        (ThinkingBudget(effort="high", answer_reserve=62), Grant(12, 24, "answer_reserve", True, 0.6)),
    ],
)
def test_grants_by_the_profile(profile: ThinkingProfile, asked: ThinkingBudget, granted: Grant) -> None:
    found = grant(asked, max_tokens=100, room=500, overhead=26, profile=profile)
    assert found.expected_accuracy == pytest.approx(granted.expected_accuracy)
    assert (found.budget, found.requested, found.lowered_by, found.calibrated) == (
        granted.budget,
        granted.requested,
        granted.lowered_by,
        granted.calibrated,
    )


def test_without_a_profile_efforts_are_shares() -> None:
    assert grant(ThinkingBudget(effort="low"), max_tokens=100, room=500, overhead=26) == Grant(20, 20)
    for asked, param in (
        (ThinkingBudget(target_accuracy=0.6), "thinking.target_accuracy"),
        (ThinkingBudget(max_cost=6.0), "thinking.max_cost"),
        (ThinkingBudget(family="chain"), "thinking.family"),
    ):
        with pytest.raises(RequestError, match="no thinking profile") as error:
            grant(asked, max_tokens=100, room=500, overhead=26)
        assert error.value.param == param


def test_what_the_profile_does_not_hold(profile: ThinkingProfile, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"0\.96, above the peak of what was measured, 0\.9500") as error:
        measured_curve(ThinkingBudget(target_accuracy=0.96), profile)
    assert error.value.param == "thinking.target_accuracy"
    with pytest.raises(RequestError, match=r"0\.9, above .* 0\.6000"):
        measured_curve(ThinkingBudget(target_accuracy=0.9, family="chain"), profile)
    with pytest.raises(RequestError, match="'story'; the families that were measured are chain") as error:
        measured_curve(ThinkingBudget(family="story"), profile)
    assert error.value.param == "thinking.family"
    bare = read_profile(write_profile(tmp_path / "bare.json", families={}))
    with pytest.raises(RequestError, match="that were measured are none"):
        measured_curve(ThinkingBudget(family="chain"), bare)


def test_a_peak_may_be_asked_as_it_is_told(tmp_path: Path) -> None:
    """The error gives four digits; a client that gives them back must not be refused."""
    third = read_profile(write_profile(tmp_path / "third.json", curve=[*CURVE[:4], row("max", 0.93336, 25)]))
    assert (
        grant(ThinkingBudget(target_accuracy=0.9334), max_tokens=9, room=99, overhead=1, profile=third).budget
        is None
    )
