"""Each reward on replies written out, and their weighted sum."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.problems import Problem
from trainer.completion import Completion
from trainer.recipe.rl import RewardTerm
from trainer.rewards import RewardSet, build_rewards

PROBLEM = Problem("sum/1", "How many apples are 2 apples and 2 apples?", "4")


def completion(
    thinking: str | None = "Two and two make four.",
    answer: str = "The answer is \\boxed{4}.",
    *,
    thinks: bool = True,
    reply: str | None = None,
    tokens: int = 20,
    max_tokens: int = 100,
    finish_reason: str = "stop",
    problem: Problem = PROBLEM,
) -> Completion:
    block = "" if thinking is None else f"<think>\n{thinking}\n</think>\n\n"
    return Completion(
        problem=problem,
        thinks=thinks,
        reply=block + answer if reply is None else reply,
        thinking=thinking,
        answer=answer,
        tokens=tokens,
        thinking_tokens=tokens // 2,
        max_tokens=max_tokens,
        budget=None,
        stop_cause="natural",
        finish_reason=finish_reason,
    )


def part(name: str, *group: Completion, **options: Any) -> list[float]:
    """The term's own values on a group."""
    weight = 1.0 if name == "correctness" else 0.1
    terms = [RewardTerm(name=name, weight=weight, options=options)]
    if name != "correctness":
        terms.append(RewardTerm(name="correctness"))
    (scores,) = build_rewards(terms).score([group], step=0)
    return [score.parts[name] for score in scores]


def test_correctness_counts_the_answer_and_not_the_thinking() -> None:
    right, wrong = completion(), completion(answer="The answer is \\boxed{5}.")
    thought = completion("It is \\boxed{4}.", "I do not know.")
    unanswered = completion("It is \\boxed{4}.", "")
    equal = completion(answer="So it is $\\frac{8}{2}$")
    assert part("correctness", right, wrong, thought, unanswered, equal) == [1, 0, 0, 0, 1]


def test_correctness_by_another_grader() -> None:
    equal = completion(answer="\\boxed{8/2}")
    assert part("correctness", equal) == [1]
    assert part("correctness", equal, grader="exact") == [0]


def test_correctness_survives_hostile_replies() -> None:
    hostile = [
        "\\boxed{" * 3000,
        "(" * 20000,
        "9**9**9**9",
        "\\boxed{9^{9^{9^{9}}}}",
        "__import__('os').getpid()",
    ]
    assert part("correctness", *[completion(answer=text) for text in hostile]) == [0] * len(hostile)


def test_format_of_thinking() -> None:
    good = completion()
    by_prompt = completion(reply="Two and two make four.\n</think>\n\nThe answer is \\boxed{4}.")
    no_answer = completion(answer=" \n")
    no_block = completion(None)
    empty_block = completion("\n")
    late_block = completion(reply="Well: <think>\nTwo\n</think>\n\n4")
    never_closed = completion(answer="4", reply="<think>\nTwo and two make four. 4")
    nested = completion("Two <think> and two", reply="<think>\nTwo <think> and two\n</think>\n\n4")
    closed_twice = completion(answer="</think> 4")
    two_blocks = completion("a\nb", "4", reply="<think>\na\n</think>\n<think>\nb\n</think>\n4")
    group = [good, by_prompt, no_answer, no_block, empty_block, late_block, never_closed, nested]
    assert part("format", *group, closed_twice, two_blocks) == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]


def test_format_without_thinking() -> None:
    absent = completion(None, thinks=False)
    empty = completion("", thinks=False)
    thought = completion(thinks=False)
    stray = completion(None, "</think>\n4", thinks=False)
    nothing = completion(None, "", thinks=False)
    assert part("format", absent, empty, thought, stray, nothing) == [1, 1, 0, 0, 0]


def test_format_with_a_box() -> None:
    boxed, plain, open_box = completion(), completion(answer="It is 4."), completion(answer="\\boxed{4")
    assert part("format", boxed, plain, open_box, boxed=True) == [1, 0, 0]
    assert part("format", boxed, plain, open_box) == [1, 1, 1]


def test_format_with_a_model_s_own_tags() -> None:
    reply = completion(reply="[THINK]Two and two make four.[/THINK]The answer is \\boxed{4}.")
    terms = [RewardTerm(name="correctness"), RewardTerm(name="format")]
    for tags, value in ((("[THINK]", "[/THINK]"), 1), (("<think>", "</think>"), 0)):
        ((score,),) = build_rewards(terms, tags).score([[reply]], 0)
        assert score.parts["format"] == value


def test_mode_following() -> None:
    group = [
        completion(),
        completion(None),
        completion(" \n"),
        completion(thinks=False),
        completion(None, thinks=False),
        completion("\n", thinks=False),
    ]
    assert part("mode_following", *group) == [1, 0, 0, 0, 1, 1]


def test_length_is_kimi_s() -> None:
    lengths = [10, 30, 40, 50]
    right = [completion(tokens=length) for length in lengths]
    # 0.5 - (length - 10) / 40
    assert part("length", *right) == [0.5, 0.0, -0.25, -0.5]
    wrong = [completion(answer="5", tokens=length) for length in lengths]
    assert part("length", *wrong) == [0.0, 0.0, -0.25, -0.5]
    assert part("length", right[0], wrong[2], right[3], wrong[1]) == [0.5, -0.25, -0.5, 0.0]


def test_length_says_nothing_where_all_are_equal() -> None:
    assert part("length", completion(), completion(answer="5"), completion()) == [0, 0, 0]
    assert part("length", completion()) == [0]


def test_length_compares_within_a_group() -> None:
    terms = [RewardTerm(name="correctness"), RewardTerm(name="length", weight=0.1)]
    short = [completion(tokens=1), completion(tokens=3)]
    long = [completion(tokens=90), completion(tokens=92)]
    for scores in build_rewards(terms).score([short, long], 0):
        assert [score.parts["length"] for score in scores] == [0.5, -0.5]


def test_overlong_is_dapo_s() -> None:
    group = [completion(tokens=tokens, max_tokens=100) for tokens in (10, 60, 70, 80, 100)]
    assert part("overlong", *group, cache=40) == pytest.approx([0, 0, -0.25, -0.5, -1])
    assert part("overlong", *group) == pytest.approx([0, 0, 0, 0, -1])  # a fifth: from 80 on
    cut_off = completion(tokens=70, max_tokens=100, finish_reason="length")
    assert part("overlong", cut_off, cache=40) == [-1]


def test_repetition() -> None:
    # Of the 2-grams of "a b a b a" four, two distinct.
    assert part("repetition", completion(None, "a b a b a"), ngram=2) == [-0.5]
    assert part("repetition", completion(None, "a b c d e"), completion(None, "a"), ngram=2) == [0, 0]
    looping = part("repetition", completion(None, "wait " * 400))[0]
    assert -1 <= looping < -0.99


CHINESE = Problem("sum/2", "两个苹果加两个苹果是多少个苹果？", "4")
JAPANESE = Problem("sum/3", "りんご二個と二個で何個ですか。", "4")
RUSSIAN = Problem("sum/4", "Сколько будет два и два яблока?", "4")
BARE = Problem("sum/5", "2 + 2 = ?", "4")


@pytest.mark.parametrize(
    ("problem", "thinking", "answer", "value"),
    [
        (PROBLEM, "two plus two", "four", 1),
        (PROBLEM, "二加二", "四", 0),
        (PROBLEM, "two plus 二二", "", 7 / 9),
        (PROBLEM, "x + y = z, \\frac{\\alpha}{2}", "4", 1),  # variables and commands say nothing
        (CHINESE, "二加二是四", "答案是 \\boxed{4}", 1),
        (CHINESE, "two", "二二", 2 / 5),
        (JAPANESE, "二足す二は四", "答えは４です", 1),
        (RUSSIAN, "два и два", "четыре", 1),
        (RUSSIAN, "two", "два", 1 / 2),
        (BARE, "two", "два", 1),
        (PROBLEM, None, "5", 1),
    ],
)
def test_language(problem: Problem, thinking: str | None, answer: str, value: float) -> None:
    assert part("language", completion(thinking, answer, problem=problem)) == [pytest.approx(value)]


def test_total_is_the_weighted_sum() -> None:
    rewards = build_rewards(
        [
            RewardTerm(name="correctness", weight=2.0),
            RewardTerm(name="format", weight=0.5),
            RewardTerm(name="length", weight=0.25, from_step=10),
        ]
    )
    group = [completion(tokens=10), completion(None, "5", tokens=20)]
    for step, totals in ((0, [2.5, 0.0]), (10, [2.5 + 0.125, -0.125])):
        (scores,) = rewards.score([group], step)
        assert [score.total for score in scores] == pytest.approx(totals)
        assert scores[0].parts == {"correctness": 1, "format": 1, "length": 0.5}


def test_scores_keep_the_order_of_groups_of_any_size() -> None:
    rewards = build_rewards([RewardTerm(name="correctness")])
    right, wrong = completion(), completion(answer="5")
    scores = rewards.score([[right, wrong, wrong], [], [wrong, right]], 0)
    assert [[score.total for score in group] for group in scores] == [[1, 0, 0], [], [0, 1]]


def test_weights_rise_over_the_ramp() -> None:
    rewards = build_rewards(
        [
            RewardTerm(name="correctness", weight=2.0),
            RewardTerm(name="length", weight=0.8, from_step=4, ramp_steps=3),
        ]
    )
    values = [rewards.weights(step)["length"] for step in range(9)]
    assert values == pytest.approx([0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 0.8])


@pytest.fixture
def custom_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_rewards.py").write_text(
        "from trainer.rewards import bounded\n"
        "@bounded(0, 1)\n"
        "def brief(group, limit=15):\n"
        "    return [float(one.tokens <= limit) for one in group]\n"
        "@bounded(0, 1)\n"
        "def liar(group):\n"
        "    return [2.0 for one in group]\n"
        "@bounded(0, 1)\n"
        "def short(group):\n"
        "    return [0.0]\n"
        "def unbounded(group):\n"
        "    return [0.0 for one in group]\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_rewards"
    sys.modules.pop("my_rewards", None)


def with_custom(name: str, **options: Any) -> RewardSet:
    return build_rewards([RewardTerm(name="correctness"), RewardTerm(name=name, weight=0.5, options=options)])


def test_custom_reward(custom_module: str) -> None:
    group = [completion(tokens=10), completion(tokens=20)]
    (scores,) = with_custom(f"{custom_module}:brief").score([group], 0)
    assert [score.total for score in scores] == [1.5, 1.0]
    (scores,) = with_custom(f"{custom_module}:brief", limit=30).score([group], 0)
    assert [score.total for score in scores] == [1.5, 1.5]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_rewards:unbounded", "does not declare the range"),
        ("my_rewards:number", "has no function 'number'"),
        ("my_rewards:missing", "has no function 'missing'"),
        ("no_such_module:f", "cannot import 'no_such_module'"),
    ],
)
def test_custom_reward_that_cannot_be_used(custom_module: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_custom(name)


def test_custom_reward_with_an_option_it_does_not_take(custom_module: str) -> None:
    message = r"options of my_rewards:brief: .*'limt'.* signature brief\(group, limit=15\)"
    with pytest.raises(ValueError, match=message):
        with_custom(f"{custom_module}:brief", limt=30)


@pytest.mark.parametrize(
    ("name", "message"),
    [("liar", "gave 2.0, outside its declared range 0 to 1"), ("short", "gave 1 values for")],
)
def test_custom_reward_is_held_to_what_it_declares(custom_module: str, name: str, message: str) -> None:
    rewards = with_custom(f"{custom_module}:{name}")
    with pytest.raises(ValueError, match=message):
        rewards.score([[completion(), completion()]], 0)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (
            [RewardTerm(name="correctness"), RewardTerm(name="style")],
            "'style' is no term; give one of correctness",
        ),
        ([RewardTerm(name="format")], "neither correctness nor equivalence is among format"),
        ([RewardTerm(name="correctness"), RewardTerm(name="correctness")], "correctness is given twice"),
        ([RewardTerm(name="correctness", options={"greder": "exact"})], "options of correctness: greder"),
        ([RewardTerm(name="correctness", options={"grader": "mine"})], "options of correctness: grader"),
        (
            [RewardTerm(name="correctness"), RewardTerm(name="overlong", options={"cache": 0})],
            "overlong: cache",
        ),
    ],
)
def test_mistakes_in_the_recipe_are_named(terms: list[RewardTerm], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_rewards(terms)


def test_a_reward_sees_only_the_reply_and_what_was_asked() -> None:
    """No log-probabilities and no judge: whoever has the reply can compute its reward again."""
    assert {field.name for field in dataclasses.fields(Completion)} == {
        *("problem", "thinks", "reply", "thinking", "answer", "tokens", "thinking_tokens"),
        *("max_tokens", "budget", "stop_cause", "finish_reason"),
    }
