"""The pure parts of each policy: sentence ends, cycles, granted budgets, answer times, verdicts on tokens."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.budget import EFFORT_SHARES, LoopStop, RequestError, ThinkingBudget, with_members
from serve.grants import Grant, grant
from serve.pace import FIRST_SHARE, MARGIN, Pace
from serve.stops import CycleDetector, sentence_ends
from tests.serve.test_trace import FORM, encode, tracker_of


@pytest.mark.parametrize(
    ("before", "after", "ends"),
    [
        ("so.", " Then", True),
        ("so.\n", "Then", True),
        ("so", "\n", False),
        ("so.", "\n", False),
        ("\n", "x", True),
        ("3.", "14", False),
        ('done."', " Then", True),
        ("why?", " x", True),
        ("e.g", " x", False),
        ("对。", "好", True),
    ],
)
def test_sentence_ends(before: str, after: str, ends: bool) -> None:
    assert sentence_ends(FORM, encode(before), encode(after)[0]) == ends


def is_cycle(tokens: list[int], loop: LoopStop) -> bool:
    """Whether some tail of the tokens is one cycle, often and long enough; straight from the definition."""
    for period, length in product(range(1, len(tokens) + 1), range(1, len(tokens) + 1)):
        tail = tokens[-length:]
        long_enough = length >= loop.tokens and length >= loop.repeats * period
        if long_enough and all(tail[i] == tail[i - period] for i in range(period, length)):
            return True
    return False


@given(
    st.lists(st.integers(0, 2), max_size=24),
    st.builds(LoopStop, repeats=st.integers(2, 4), tokens=st.integers(2, 12)),
)
def test_cycles_are_found_where_they_are(tokens: list[int], loop: LoopStop) -> None:
    detector = CycleDetector(loop)
    for position, token in enumerate(tokens):
        detector.add(token)
        assert detector.found == is_cycle(tokens[: position + 1], loop)


@pytest.mark.parametrize(
    ("asked", "max_tokens", "room", "granted"),
    [
        (ThinkingBudget(), 100, 500, Grant(None, None)),
        (ThinkingBudget(300), 100, 500, Grant(300, 300)),
        (ThinkingBudget(300, ceiling=80), 100, 500, Grant(80, 300, "ceiling")),
        (ThinkingBudget(ceiling=80), 100, 500, Grant(80, None, "ceiling")),
        (ThinkingBudget(50, ceiling=80), 100, 500, Grant(50, 50)),
        (ThinkingBudget(50, answer_reserve=20), 100, 500, Grant(50, 50)),
        (ThinkingBudget(60, answer_reserve=20), 100, 500, Grant(54, 60, "answer_reserve")),
        (ThinkingBudget(answer_reserve=20), 100, 500, Grant(54, None, "answer_reserve")),
        (ThinkingBudget(60, answer_reserve=90), 100, 500, Grant(0, 60, "answer_reserve")),
        (ThinkingBudget(480), 500, 500, Grant(473, 480, "context")),
        (ThinkingBudget(480), 20, 20, Grant(0, 480, "context")),
        (ThinkingBudget(effort="low"), 100, 500, Grant(20, 20)),
        (ThinkingBudget(effort="max"), 100, 500, Grant(None, None)),
        (ThinkingBudget(effort="high", ceiling=30), 100, 500, Grant(30, 80, "ceiling")),
    ],
)
def test_grant(asked: ThinkingBudget, max_tokens: int, room: int, granted: Grant) -> None:
    assert grant(asked, max_tokens=max_tokens, room=room, overhead=26) == granted


@given(
    st.builds(
        ThinkingBudget,
        budget=st.none() | st.integers(0, 300),
        ceiling=st.none() | st.integers(0, 300),
        answer_reserve=st.integers(0, 300),
    ),
    st.integers(1, 300),
    st.integers(0, 300),
    st.integers(0, 30),
)
def test_what_is_granted_fits(asked: ThinkingBudget, room: int, less: int, overhead: int) -> None:
    max_tokens = max(1, room - less)
    found = grant(asked, max_tokens=max_tokens, room=room, overhead=overhead)
    if found.budget:
        assert asked.budget is None or found.budget <= asked.budget
        assert asked.ceiling is None or found.budget <= asked.ceiling
        if asked.answer_reserve:
            assert found.budget + overhead + asked.answer_reserve <= max_tokens
        if max_tokens == room:
            assert found.budget + overhead < room
    assert (found.lowered_by is not None) == (found.budget != asked.budget)


def test_time_kept_back_for_the_answer() -> None:
    pace = Pace()
    assert pace.estimate(0, None) is None
    assert pace.estimate(10, None) is None
    assert pace.kept_back(8.0, None) == FIRST_SHARE * 8
    pace.observe_step(0.1)
    assert pace.estimate(10, None) == pytest.approx(12 * 0.1)
    for tokens in range(2, 12):
        pace.observe_answer(tokens)
    assert pace.estimate(0, None) == pytest.approx((2 + 10) * 0.1)
    assert pace.estimate(0, 0.5) == pytest.approx((2 + 10) * 0.5)
    pace.observe_wait(3.0)
    assert pace.estimate(0, None) == pytest.approx(3 + 10 * 0.1)
    for _ in range(200):
        pace.observe_answer(3)
        pace.observe_step(0.2)
        pace.observe_wait(0.5)
    assert pace.estimate(0, None) == pytest.approx(0.5 + 3 * 0.2, rel=1e-6)


def test_estimates_are_corrected_by_their_errors_but_never_down() -> None:
    pace = Pace()
    assert pace.kept_back(10.0, 2.0) == pytest.approx(2 + 10 * MARGIN)
    pace.observe_error(0.5)
    assert pace.kept_back(10.0, 2.0) == pytest.approx(2 + 10 * MARGIN)
    for _ in range(200):
        pace.observe_error(1.5)
    assert pace.kept_back(10.0, 2.0) == pytest.approx(3 + 10 * MARGIN)


LETTERS = [t for t in range(100) if t not in (FORM.open_id, FORM.close_id, *FORM.turn_end_ids)]


@pytest.mark.parametrize("step", [1, 3, 100])
def test_soft_waits_for_the_window(step: int) -> None:
    """Before the window a sentence may end without thinking ending; in it, at the first end."""
    line = encode("a b.\n")
    ids = line * 10
    tracker = tracker_of("thinking", 5 * len(line) - 1, soft=len(line))
    kept = 0
    for start in range(0, len(ids), step):
        verdict = tracker.feed(ids[start : start + step])
        if verdict is not None:
            kept = start + verdict.keep
            assert verdict.action == "cut"
            break
    assert tracker.cut_cause == "soft"
    assert kept == tracker.tokens == 4 * len(line)


def test_soft_without_an_end_is_the_budget() -> None:
    tracker = tracker_of("thinking", 6, soft=3)
    verdict = tracker.feed(LETTERS[:9])
    assert verdict is not None
    assert (verdict.keep, verdict.action, tracker.cut_cause) == (6, "cut", "budget")


def test_a_close_tag_beats_the_end_of_a_sentence() -> None:
    line = encode("a b.\n")
    tracker = tracker_of("thinking", len(line) + 2, soft=len(line))
    assert tracker.feed([*line, FORM.close_id, *line * 3]) is None
    assert tracker.finish("stop").stop_cause == "natural"


def test_floor() -> None:
    """Closing below the floor is refused; sentence ends and loops wait for it; the budget does not."""
    asked = {"min_tokens": 8, "loop": LoopStop(2, 2)}
    tracker = tracker_of("thinking", 10, **asked)
    one = LETTERS[0]
    verdict = tracker.feed([one, one, one, FORM.close_id])
    assert verdict is not None
    assert (verdict.keep, verdict.action) == (3, "wait")
    tracker.go_on(1)
    verdict = tracker.feed([one] * 20)
    assert verdict is not None
    assert (verdict.keep, verdict.action, tracker.cut_cause) == (5, "cut", "loop")
    report = tracker.report()
    assert (report.tokens, report.waits, report.inserted_tokens) == (8, 1, 1)

    capped = tracker_of("thinking", 4, min_tokens=8)
    verdict = capped.feed([one] * 20)
    assert verdict is not None
    assert (verdict.keep, capped.cut_cause) == (4, "budget")


def test_the_end_of_the_turn_below_the_floor_is_refused() -> None:
    tracker = tracker_of("thinking", None, min_tokens=3)
    verdict = tracker.feed([LETTERS[0], FORM.tokenizer.eos_token_id], stopped=True)
    assert verdict is not None
    assert (verdict.keep, verdict.action) == (1, "wait")


def test_optional_members_of_a_report() -> None:
    plain = tracker_of("fresh").report().as_dict()
    assert list(plain) == ["stop_cause", "budget", "tokens", "inserted_tokens", "blocks", "seconds"]
    full = tracker_of("fresh", effort="low", deadline=9.0, min_tokens=2).report().as_dict()
    assert full["calibrated"] is False
    assert (full["effort"], full["deadline"], full["deadline_missed"], full["waits"]) == (
        "low",
        9.0,
        False,
        0,
    )


def test_members() -> None:
    base = ThinkingBudget(9, deadline=5.0, loop=LoopStop(), min_tokens=3)
    assert with_members(base, {}) == base
    assert with_members(base, {"budget": None}) == base
    off = {"budget": -1, "deadline": False, "loop": False, "min_tokens": 0}
    assert with_members(base, off) == ThinkingBudget()
    assert with_members(base, {"effort": "low"}).budget is None
    assert with_members(base, {"effort": "low", "budget": 7}) == with_members(base, {"budget": 7})
    assert with_members(base, {"effort": "none"}).budget == 0
    for level in EFFORT_SHARES:
        assert ThinkingBudget.loads(with_members(base, {"effort": level}).dumps()).effort == level
    whole = with_members(base, {"confident": {"every": 4}, "loop": True})
    assert ThinkingBudget.loads(whole.dumps()) == whole


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"budgets": 4}, "thinking.budgets"),
        ({"deadline": 0}, "thinking.deadline"),
        ({"deadline": True}, "thinking.deadline"),
        ({"deadline": float("nan")}, "thinking.deadline"),
        ({"deadline": "3s"}, "thinking.deadline"),
        ({"soft": -1}, "thinking.soft"),
        ({"soft": True}, "thinking.soft"),
        ({"min_tokens": 2.0}, "thinking.min_tokens"),
        ({"min_tokens": 5, "budget": 4}, "thinking.min_tokens"),
        ({"loop": 3}, "thinking.loop"),
        ({"loop": {"repeats": 1}}, "thinking.loop.repeats"),
        ({"loop": {"times": 3}}, "thinking.loop.times"),
        ({"confident": {"threshold": 0}}, "thinking.confident.threshold"),
        ({"confident": {"threshold": 1.1}}, "thinking.confident.threshold"),
        ({"confident": {"every": 0}}, "thinking.confident.every"),
        ({"confident": {"induce": 3}}, "thinking.confident.induce"),
        ({"answer_reserve": None, "effort": "huge"}, "thinking.effort"),
        ({"wait_text": 3}, "thinking.wait_text"),
        ({"target_accuracy": 0}, "thinking.target_accuracy"),
        ({"target_accuracy": 1.1}, "thinking.target_accuracy"),
        ({"target_accuracy": True}, "thinking.target_accuracy"),
        ({"target_accuracy": 0.5, "effort": "low"}, "thinking.target_accuracy"),
        ({"target_accuracy": 0.5, "budget": 3}, "thinking.target_accuracy"),
        ({"max_cost": -1}, "thinking.max_cost"),
        ({"max_cost": 10**400}, "thinking.max_cost"),
        ({"max_cost": True}, "thinking.max_cost"),
        ({"family": 3}, "thinking.family"),
    ],
)
def test_wrong_members(members: dict[str, object], param: str) -> None:
    with pytest.raises(RequestError, match=param.replace(".", r"\.")) as error:
        with_members(ThinkingBudget(), members)
    assert error.value.param == param
