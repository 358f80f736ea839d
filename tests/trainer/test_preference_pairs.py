"""Pairs: which replies are chosen over which, how they weigh, and how given ones become rows."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import AutoTokenizer

from serve import DEFAULT_MODEL
from serve.formats import ThinkingFormat, load_format
from trainer.cli import main
from trainer.preference.given import read_pairs
from trainer.preference.held_out import win_rate
from trainer.preference.pairs import Judged, Pair, choose_pairs, pair_weights
from trainer.preference.plan import PairPlan
from trainer.preference.source import check_pairs, given_pairs, sampled_pairs
from trainer.recipe.preference import Pairs, PreferenceObjective
from trainer.recipe.stages import DPO
from trainer.rows.doctor import check_row
from trainer.rows.replies import ReplyWriter
from trainer.rows.row import Row

ROLLOUTS = {"backend": "transformers", "max_tokens": 24, "answer_tokens": 8}


def settings(**members: Any) -> Pairs:
    return Pairs.model_validate({"problems": 4, "rollouts": ROLLOUTS} | members)


def stage(pairs: Pairs | dict[str, Any], **members: Any) -> DPO:
    given = pairs if isinstance(pairs, dict) else pairs.model_dump(exclude_defaults=True)
    return DPO.model_validate(
        {"name": "dpo", "pairs": given, "epochs": 1, "batch_pairs": 4, "optimizer": {"adamw_lr": 1e-3}}
        | members
    )


def judged(
    score: float, tokens: int = 10, ended: bool = True, right: bool | None = None, text: int = -1
) -> Judged:
    return Judged(score, score >= 1 if right is None else right, ended, tokens, (text,))


def distinct(replies: Sequence[Judged]) -> list[Judged]:
    return [
        Judged(one.score, one.right, one.ended, one.tokens, (place,)) for place, one in enumerate(replies)
    ]


def places(replies: Sequence[Judged], **members: Any) -> list[tuple[int, int]]:
    found = choose_pairs(replies, settings(**members), random.Random(0))
    return [(choice.chosen, choice.rejected) for choice in found]


def test_right_replies_are_chosen_over_wrong_ones_and_all_are_used() -> None:
    replies = distinct([judged(1), judged(0), judged(1), judged(0)])
    found = places(replies, per_problem=2)
    assert {chosen for chosen, _ in found} == {0, 2}
    assert {rejected for _, rejected in found} == {1, 3}
    assert sorted(places(replies, per_problem=9)) == [(0, 1), (0, 3), (2, 1), (2, 3)]
    assert places(distinct([judged(1), judged(1)])) == []


def test_the_widest_gaps_come_first_and_near_ties_are_left_out() -> None:
    replies = distinct([judged(1.2), judged(0.2), judged(1.0), judged(0.0)])
    assert places(replies, per_problem=1) == [(0, 3)]
    assert sorted(places(replies, per_problem=9)) == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 1), (2, 3)]
    assert sorted(places(replies, per_problem=9, near_tie=0.5)) == [(0, 1), (0, 3), (2, 1), (2, 3)]


def test_replies_that_were_cut_are_never_chosen_and_equal_pairs_come_once() -> None:
    cut, wrong = judged(1, ended=False), judged(0, ended=False)
    assert places(distinct([cut, wrong, judged(0)])) == []
    assert places(distinct([judged(1), wrong])) == [(0, 1)]
    same = [judged(1, text=1), judged(1, text=1), judged(0, text=2), judged(0, text=2)]
    assert len(places(same)) == 1


def test_the_shortest_right_reply_is_chosen_over_longer_ones() -> None:
    replies = distinct(
        [
            judged(1, 14),  # right, but not 1.5 times as long
            judged(1, 10),
            judged(1, 15),
            judged(0, 11, ended=False),
            judged(0, 10),  # wrong, but not longer
            judged(1, 4, ended=False),  # shorter, but cut
        ]
    )
    assert places(replies, prefer="short") == [(1, 2), (1, 3)]
    assert places(replies, prefer="short", longer=1.4) == [(1, 2), (1, 0), (1, 3)]
    assert places(distinct([judged(0, 3), judged(0, 9)]), prefer="short") == []


def test_weights_have_mean_one_and_follow_the_gaps() -> None:
    assert pair_weights([0.5, 1.5, 1.0], by_gap=True) == pytest.approx([0.5, 1.5, 1.0])
    assert pair_weights([0.2, 0.6], by_gap=True) == pytest.approx([0.5, 1.5])
    assert pair_weights([0.2, 0.6], by_gap=False) == [1.0, 1.0]


def test_a_reply_wins_by_its_reward_or_by_its_length() -> None:
    others = [judged(0), judged(1), judged(1), judged(2)]
    assert win_rate(judged(1), others, settings()) == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    short = settings(prefer="short")
    assert win_rate(judged(1, 10), [judged(1, 12), judged(1, 10), judged(1, 8), judged(0, 2)], short) == 0.625
    assert win_rate(judged(0, 9), [judged(0, 2)], short) == 0.5


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"problems": None}, "give path, or problems and rollouts"),
        ({"path": "pairs.jsonl"}, "problems: is for pairs that are sampled"),
        ({"prefer": "short", "near_tie": 0.1}, "near_tie: prefer = 'short' compares lengths"),
        ({"longer": 2.0}, "longer: 2.0 is for prefer = 'short'"),
        ({"rollouts": ROLLOUTS | {"refill": 1}}, "tokens_per_step and refill are for steps of RL"),
        ({"rewards": [{"name": "correctness", "from_step": 3}]}, "from_step and ramp_steps are for steps"),
    ],
)
def test_settings_that_cannot_matter_are_refused(members: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**members)


def test_a_stage_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValidationError, match="give either steps or epochs"):
        stage(settings(), steps=3)
    with pytest.raises(ValidationError, match=r"evaluate_every: 3 with pairs.held_out 0 measures nothing"):
        stage(settings(), evaluate_every=3)
    with pytest.raises(ValidationError, match=r"pairs.path gives pairs; leave one out"):
        stage({"path": "pairs.jsonl"}, data=[{"kind": "thinkmath", "levels": {1: 1}}])
    with pytest.raises(ValidationError, match=r"margin: 1.0 is for loss 'simpo'"):
        PreferenceObjective(margin=1.0)


@pytest.fixture(scope="module")
def form() -> ThinkingFormat:
    return load_format(AutoTokenizer.from_pretrained(DEFAULT_MODEL), DEFAULT_MODEL)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


THINKING = {
    "prompt": "What is 1 + 6?",
    "chosen": "<think>\n1+6=7\n</think>\n\nThe answer is \\boxed{7}.",
    "rejected": "<think>\n1+6=8\n</think>\n\nThe answer is \\boxed{8}.",
}
PLAIN = {"chosen": "\\boxed{7}", "rejected": "\\boxed{8}", "weight": 2}
SOFT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1 + 6? /no_think"}]


def test_given_replies_are_rendered_as_they_are_served(form: ThinkingFormat, tmp_path: Path) -> None:
    path = write(
        tmp_path / "pairs.jsonl", THINKING, {"prompt": "What is 1 + 6?", **PLAIN}, {"messages": SOFT, **PLAIN}
    )
    named = read_pairs(path, form)
    assert len({name for name, _ in named}) == 2
    writer = ReplyWriter(form)
    texts = []
    for number, (_, pair) in enumerate(named):
        for row in (pair.chosen, pair.rejected):
            assert check_row(row, number, writer) == []
            texts.append(
                form.tokenizer.decode(
                    [token for token, weight in zip(row.ids, row.weights, strict=True) if weight]
                )
            )
    end = "<|im_end|>"
    assert texts == [
        *(THINKING[name] + end for name in ("chosen", "rejected")),
        *(PLAIN[name] + end for name in ("chosen", "rejected")),
        *("<think>\n\n</think>\n\n" + PLAIN[name] + end for name in ("chosen", "rejected")),
    ]
    assert [pair.weight for _, pair in named] == [1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (THINKING | {"rejected": "\\boxed{8}"}, "pairs.jsonl:1: chosen thinks and rejected does not"),
        (THINKING | {"rejected": THINKING["chosen"]}, "chosen and rejected are the same reply"),
        (THINKING | {"weight": 0}, "weight 0 is wrong; give a positive number"),
        (THINKING | {"score": 1}, "there is no member 'score'"),
        (THINKING | {"chosen": 7}, "chosen is 7; expected a text"),
        (THINKING | {"messages": SOFT}, "give either prompt or messages"),
        (PLAIN | {"messages": [*SOFT, {"role": "assistant", "content": "7"}]}, "end them with the user's"),
    ],
)
def test_a_wrong_line_is_told(
    row: dict[str, Any], message: str, form: ThinkingFormat, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        read_pairs(write(tmp_path / "pairs.jsonl", row), form)


def test_the_first_prompts_of_a_file_are_held_out(form: ThinkingFormat, tmp_path: Path) -> None:
    rows = [THINKING | {"prompt": f"What is {number % 3}?"} for number in range(7)]
    path = write(tmp_path / "pairs.jsonl", *rows)
    pairs = given_pairs(stage({"path": str(path), "held_out": 1}, evaluate_every=1), form)
    assert (len(pairs.held_out), len(pairs.training)) == (3, 4)
    with pytest.raises(ValueError, match=r"no pair is left to train on: 7 pairs are longer than max_length"):
        given_pairs(stage({"path": str(path)}, max_length=20), form)


def test_sampled_pairs_train_what_was_sampled_and_hold_out_problems(tmp_path: Path) -> None:
    def record(number: int, problem: str, *scores: float) -> dict[str, Any]:
        replies = [
            {
                "token_ids": [5, 6, 7 + place],
                "inserted": [0, place % 2, 0],
                "score": score,
                "right": score >= 1,
            }
            for place, score in enumerate(scores)
        ]
        rest = {"ended": True, "reply": ""}
        return {
            "step": number + 1,
            "problem": problem,
            "thinks": True,
            "prompt_ids": [1, 2],
            "replies": [reply | rest for reply in replies],
        }

    path = write(
        tmp_path / "replies.jsonl",
        record(0, "a", 1, 0),
        record(1, "a", 1, 0),
        record(2, "b", 1, 0),
        record(3, "c", 1.5, 0),
        record(4, "d", 1, 1),
    )
    wanted = stage(settings(held_out=1, weights_by_gap=True), evaluate_every=1)
    pairs = sampled_pairs(wanted, 0, path)
    assert pairs.left_out == {
        "problems are among the held-out ones": 1,
        "problems have no two replies that differ enough": 1,
    }
    assert (len(pairs.held_out), len(pairs.training)) == (1, 2)
    assert pairs.training[1].weight == pytest.approx(1.5 * pairs.training[0].weight)
    rejected = pairs.training[0].rejected
    assert (rejected.ids, rejected.weights) == ([1, 2, 5, 6, 8], [0.0, 0.0, 1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="no pair is left to train on"):
        check_pairs(wanted, sampled_pairs(wanted, 0, tmp_path / "none.jsonl"))


def test_a_step_has_its_pairs_once_on_however_many_processes() -> None:
    pairs = [
        Pair(Row([0] * length, [1.0] * length, 0, "think"), Row([0], [1.0], 0, "think"), weight)
        for length, weight in ((9, 1.0), (4, 2.0), (7, 0.5), (5, 1.0), (30, 1.0), (6, 1.5))
    ]
    settings_of = stage(settings(), epochs=2, micro_batch_tokens=40)
    one, two = (PairPlan(pairs, settings_of, 0, processes) for processes in (1, 2))
    assert one.steps == 3
    numbers: list[int] = []
    for step in range(one.steps):
        alone, shares = one.share(step), [two.share(step, process) for process in range(2)]
        mine = sorted(number for batch in alone.micro_batches for number in batch)
        assert mine == sorted(number for share in shares for batch in share.micro_batches for number in batch)
        assert alone.weight == shares[0].weight == sum(pairs[number].weight for number in mine)
        assert len(shares[0].micro_batches) == len(shares[1].micro_batches)
        for batch in alone.micro_batches:
            assert len(batch) == 1 or 2 * len(batch) * max(pairs[number].length for number in batch) <= 40
        numbers += mine
    assert sorted(numbers) == sorted([*range(6)] * 2)


def test_the_doctor_and_the_dry_run_know_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "pairs.jsonl", THINKING, {"prompt": "What is 1 + 6?", **PLAIN})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'model = {{ path = "{DEFAULT_MODEL}" }}\n[[stages]]\nkind = "dpo"\nepochs = 3\nbatch_pairs = 2\n'
        f'max_length = 512\noptimizer = {{ adamw_lr = 1e-4 }}\npairs = {{ path = "{path}" }}\n',
        encoding="utf-8",
    )
    assert main(["doctor", str(recipe), "--rows", "1"]) == 0
    shown = capsys.readouterr().out
    assert "chosen: think row" in shown
    assert "1·+·6·=·8" in shown
    assert main(["run", str(recipe), "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "2 examples" in capsys.readouterr().out
