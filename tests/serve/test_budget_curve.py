"""The profile as the server reads it: interpolation, its inverses, and files that it refuses."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.budget import EFFORT_SHARES
from serve.checkpoint import checkpoint_files, checkpoint_hash
from serve.profile import PROFILE, BudgetCurve, CurvePoint, find_profile, read_profile
from tests.serve.made_profile import CHAIN, CURVE, LEVELS, document, recommended, row, write_profile


def curve(*rows: dict[str, Any]) -> BudgetCurve:
    return BudgetCurve(
        tuple(
            CurvePoint(
                None if r["budget"] == "max" else r["budget"],
                r["accuracy"],
                r["low"],
                r["high"],
                r["fitted"],
                r["mean_thinking_tokens"],
            )
            for r in rows
        ),
        {},
    )


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = read_profile(write_profile(tmp_path / "p.json"))
    assert found.overall.levels == {**LEVELS, "max": None}
    assert list(found.overall.levels) == list(EFFORT_SHARES)
    assert [point.budget for point in found.overall.points] == [0, 8, 16, 32, None]
    assert found.curve("chain").points == curve(*CHAIN).points
    assert found.curve("chain").levels["low"] == 12
    assert found.curve(None) is found.overall
    assert found.document == document()
    with pytest.raises(KeyError):
        found.curve("no such")


def test_accuracy_and_cost_between_the_measured_budgets() -> None:
    found = curve(*CURVE)
    assert [found.accuracy_at(b) for b in (0, 4, 8, 12, 32, 64, None)] == pytest.approx(
        [0.2, 0.3, 0.4, 0.6, 0.9, 0.95, 0.95]
    )
    assert found.accuracy_at(48) == pytest.approx(0.925)  # no limit lies at 64
    assert [found.tokens_at(b) for b in (0, 4, 12, 24, None)] == pytest.approx([0, 4, 11, 17, 25])
    # Thinking never exceeds its budget, measured or not.
    assert curve(row(8, 0.4, 8), row("max", 0.9, 20)).tokens_at(3) == 3
    # Where no limit was not measured, the last number stands for all beyond it.
    assert curve(*CURVE[:4]).accuracy_at(None) == curve(*CURVE[:4]).accuracy_at(1000) == 0.9
    # Where only on and off were, a budget far below the natural length is not as good as no limit.
    assert curve(CURVE[0], row("max", 1.0, 25)).accuracy_at(25) == pytest.approx(0.6)


def test_the_budget_for_an_accuracy_or_a_cost() -> None:
    found = curve(*CURVE)
    assert [found.budget_for_accuracy(a) for a in (0.1, 0.2, 0.21, 0.6, 0.8, 0.925, 0.95)] == [
        0, 0, 1, 12, 16, 48, None,
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"0\.96 is above the peak of the measured curve, 0\.95"):
        found.budget_for_accuracy(0.96)
    assert [found.budget_for_tokens(t) for t in (0, 3.9, 11, 14, 22.5, 24.9, 25)] == [
        0, 3, 12, 16, 48, 63, None,
    ]  # fmt: skip
    # Below what was measured, a budget of as many tokens never costs more.
    assert curve(*CURVE[2:]).budget_for_tokens(5) == 5


def test_thinking_off_may_be_better_than_a_little_thinking() -> None:
    dips = curve(row(0, 0.5, 0), row(8, 0.3, 8), row(16, 0.8, 15))
    assert dips.budget_for_accuracy(0.5) == 0
    assert dips.budget_for_accuracy(0.55) == 12
    assert dips.accuracy_at(4) == pytest.approx(0.4)


RISING = st.lists(
    st.tuples(st.integers(1, 40), st.floats(0, 0.2), st.floats(0.01, 1)), min_size=1, max_size=6
)


@given(RISING, st.booleans(), st.floats(0, 1), st.integers(0, 300))
def test_inverses_are_exact_to_the_token(
    steps: list[tuple[int, float, float]], unlimited: bool, share: float, budget: int
) -> None:
    rows, b, a, t = [row(0, 0.0, 0.0)], 0, 0.0, 0.0
    for width, gain, used in steps:
        b, a, t = b + width, min(1.0, a + gain), t + used * width
        rows.append(row(b, a, t))
    if unlimited:
        rows.append(row("max", a, t + 1))
    found = curve(*rows)

    target = share * found.peak
    smallest = found.budget_for_accuracy(target)
    assert found.accuracy_at(smallest) >= target - 1e-6
    if smallest:
        assert found.accuracy_at(smallest - 1) < target + 1e-6

    cost = found.tokens_at(budget)
    largest = found.budget_for_tokens(cost)
    assert largest is None or largest >= min(budget, b)
    assert found.tokens_at(largest) <= cost + 1e-6
    if largest is not None:
        assert found.tokens_at(largest + 1) > cost - 1e-6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 1}, "format: 1 is not 2; make the profile again"),
        ({"axis": "effort"}, "axis: 'effort' is wrong; a server needs budgets in tokens"),
        ({"model": 3}, "model: 3 is wrong"),
        ({"checkpoint_sha256": 3}, "checkpoint_sha256: 3 is wrong"),
        ({"curve": []}, r"curve: \[\] is wrong"),
        ({"curve": [CURVE[1], CURVE[0]]}, r"curve: \[8, 0\] is wrong; budgets must ascend"),
        ({"curve": [CURVE[4], CURVE[0]]}, "budgets must ascend"),
        ({"curve": [{**CURVE[0], "fitted": 1.5}]}, r"curve\[0\]\.fitted: 1\.5 is wrong"),
        ({"curve": [{**CURVE[0], "low": None}]}, r"curve\[0\]\.low: None is wrong"),
        ({"curve": [{**CURVE[0], "budget": -1}]}, r"curve\[0\]\.budget: -1 is wrong"),
        (
            {"curve": [{**CURVE[0], "mean_thinking_tokens": math.inf}]},
            r"curve\[0\]\.mean_thinking_tokens: inf is wrong",
        ),
        ({"recommended": {"low": {"budget": 3}}}, r"recommended\.minimal: None is wrong"),
        ({"families": {"chain": {"curve": []}}}, r"families\.chain\.curve: \[\] is wrong"),
        ({"families": []}, r"families: \[\] is wrong"),
    ],
)
def test_a_wrong_file_is_refused_by_field(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        read_profile(write_profile(tmp_path / "p.json", **changes))
    assert str(tmp_path / "p.json") in str(error.value)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(ValueError, match="it is not JSON"):
        read_profile(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("[]")
    with pytest.raises(ValueError, match=r"format: \[\] is not 2"):
        read_profile(tmp_path / "p.json")


def model_folder(folder: Path, weights: str = "weights") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    return folder


def test_the_profile_beside_a_checkpoint_is_found(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    assert find_profile(str(model), ["model"]) is None
    write_profile(model / PROFILE, checkpoint_sha256=checkpoint_hash(checkpoint_files(model)))
    found = find_profile(str(model), ["whatever it is called"])
    assert found is not None
    assert found.overall.levels["low"] == 10
    named = write_profile(tmp_path / "other.json", model="model", recommended=recommended(low=11))
    other = find_profile(str(model), ["model"], named)
    assert other is not None
    assert other.overall.levels["low"] == 11
    with pytest.raises(FileNotFoundError):
        find_profile(str(model), ["model"], tmp_path / "none.json")


def test_the_profile_of_another_model_is_refused(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    before = checkpoint_hash(checkpoint_files(model))
    write_profile(model / PROFILE, model="model", checkpoint_sha256=before)
    (model / "model.safetensors").write_text("trained on")
    now = checkpoint_hash(checkpoint_files(model))
    with pytest.raises(ValueError, match=f"{before} is another checkpoint's.* is {now}; measure this model"):
        find_profile(str(model), ["model"])
    # Without two hashes the name decides.
    nameless = write_profile(tmp_path / "nameless.json", model="name")
    for served, named in (("org/name", model / PROFILE), (str(model), nameless)):
        assert find_profile(served, ["other", "model", "name"], named) is not None
        with pytest.raises(ValueError, match=r"model: '\w+' is another model than is served \(other\)"):
            find_profile(served, ["other"], named)
