"""What a sweep stores beside the answers, on the real server: log probabilities, confidence, both ways."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import Choice, TokenLogprob
from evals.account import Prices, read_account
from evals.records import Record
from evals.store import iter_records, read_manifest, read_records
from evals.sweep.crosscheck import is_crosschecked
from evals.sweep.logprobs import token_logprobs
from evals.sweep.presets import GREEDY, PRESETS, is_greedy, sampling
from evals.sweep.run import run_sweep
from evals.sweep.settings import CONFIDENCE_PROMPT, SweepSettings
from serve.launch import RunningServer

BUDGETS = (0, 2, 9, 30, "max")
LIMIT = 6


@pytest.fixture(scope="module")
def forked(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> SweepSettings:
    """A greedy forked run with everything that can be stored."""
    settings = SweepSettings(
        "thinkmath",
        tmp_path_factory.mktemp("extras") / "forked",
        BUDGETS,
        limit=LIMIT,
        sampling=GREEDY,
        max_tokens=220,
        logprobs=4,
        confidence=True,
        crosscheck=0.5,
        prices=Prices(1.0, 10.0),
    )
    run_sweep(settings, server.base_url)
    return settings


@pytest.fixture(scope="module")
def records(forked: SweepSettings) -> Mapping[str, Record]:
    return read_records(forked.out)[0]


def test_logprobs_are_aligned_with_the_tokens(records: Mapping[str, Record]) -> None:
    cut = 0
    for record in records.values():
        if record.kind == "confidence":
            assert record.logprobs is None
            continue
        assert record.logprobs is not None
        assert record.logprobs.entropy is not None
        assert record.logprobs.rest is not None
        assert record.token_ids is not None
        lengths = {len(column) for column in (record.logprobs.pieces, record.logprobs.chosen)}
        lengths |= {len(record.logprobs.entropy), len(record.logprobs.rest)}
        assert lengths == {len(record.token_ids)}
        text = "".join(record.logprobs.pieces)
        assert record.answer.strip() in text
        assert (record.thinking or "").strip() in text
        inserted = [index for index, value in enumerate(record.logprobs.chosen) if value is None]
        if record.kind == "direct" and record.inserted_tokens:
            # One run, right after the tokens that were thought and the open tag.
            assert inserted == list(range(inserted[0], inserted[0] + record.inserted_tokens))
            assert inserted[0] == (record.thinking_tokens or 0) + 1
            assert "".join(record.logprobs.pieces[i] for i in inserted).strip().endswith("</think>")
            cut += 1
        else:
            assert not inserted
        for value, entropy, rest in zip(
            record.logprobs.chosen, record.logprobs.entropy, record.logprobs.rest, strict=True
        ):
            if value is not None and entropy is not None and rest is not None:
                assert value <= 0
                assert 0 <= entropy <= math.log(record.logprobs.top + 1) + 1e-5
                assert 0 <= rest < 1
    assert cut >= 3


def test_both_ways_give_the_same_probabilities(records: Mapping[str, Record]) -> None:
    """A fork's answer, drawn through another route, has the log probabilities of the direct reply's."""
    forks = {(r.problem, r.budget): r for r in records.values() if r.kind == "fork"}
    compared = 0
    for direct in records.values():
        fork = forks.get((direct.problem, direct.budget))
        if direct.kind != "direct" or fork is None:
            continue
        assert fork.answer_tokens is not None
        assert direct.logprobs is not None
        assert fork.logprobs is not None
        assert direct.token_ids is not None
        assert direct.token_ids[-fork.answer_tokens :] == fork.token_ids
        assert direct.logprobs.chosen[-fork.answer_tokens :] == pytest.approx(fork.logprobs.chosen, abs=1e-3)
        assert direct.logprobs.entropy is not None
        entropy = direct.logprobs.entropy[-fork.answer_tokens :]
        assert entropy == pytest.approx(fork.logprobs.entropy, abs=1e-2)
        compared += 1

    assert compared >= 3


def test_crosscheck_draws_the_share_it_says(forked: SweepSettings, records: Mapping[str, Record]) -> None:
    assert read_manifest(forked.out)["plan"]["crosscheck"] == 0.5
    drawn = {(r.problem, r.sample, r.budget) for r in records.values() if r.kind == "direct"}
    problems = read_manifest(forked.out)["plan"]["problems"]
    expected = {(p, 0, b) for p in problems for b in BUDGETS if is_crosschecked(0.5, forked.seed, p, 0, b)}
    assert drawn == expected
    assert {budget for _, _, budget in drawn} <= {2, 9, 30}
    assert 0 < len(drawn) < 3 * LIMIT


@given(st.integers(0, 3), st.sampled_from(["a", "b"]), st.integers(0, 5), st.integers(1, 99))
def test_a_larger_share_only_adds(seed: int, problem: str, sample: int, budget: int) -> None:
    picked = [is_crosschecked(share / 10, seed, problem, sample, budget) for share in range(11)]
    assert picked == sorted(picked)
    assert (picked[0], picked[10]) == (False, True)


def test_crosscheck_picks_a_fair_share() -> None:
    points = [(str(p), s, b) for p in range(50) for s in range(4) for b in range(1, 11)]
    share = sum(is_crosschecked(0.3, 0, *point) for point in points) / len(points)
    assert share == pytest.approx(0.3, abs=0.05)


def test_confidence_is_asked_of_every_reply_of_the_curve(records: Mapping[str, Record]) -> None:
    stated = {r.of: r for r in records.values() if r.kind == "confidence"}
    curve = ("trace", "fork", "no_think")
    assert set(stated) == {key for key, r in records.items() if r.kind in curve and r.answer.strip()}
    for of, record in stated.items():
        reply = records[of or ""]
        assert (record.problem, record.sample, record.budget) == (reply.problem, reply.sample, reply.budget)
        assert record.answer
        assert record.endpoint


def test_prompt_of_the_confidence_is_stored(forked: SweepSettings) -> None:
    manifest = read_manifest(forked.out)
    assert manifest["settings"]["confidence_prompt"] == CONFIDENCE_PROMPT
    assert manifest["plan"]["confidence"] is True


def test_confidence_can_be_asked_later(server: RunningServer, tmp_path: Path) -> None:
    plain = SweepSettings("thinkmath", tmp_path, (0, 4), limit=2, sampling=GREEDY, max_tokens=220)
    run_sweep(plain, server.base_url)
    before = set(read_records(tmp_path)[0])
    result = run_sweep(replace(plain, confidence=True), server.base_url)
    new = [r for key, r in read_records(tmp_path)[0].items() if key not in before]
    assert {r.kind for r in new} == {"confidence"}
    assert result.replies == len(new) >= 2
    assert run_sweep(replace(plain, confidence=True), server.base_url).replies == 0


def test_account_adds_up(server: RunningServer, forked: SweepSettings, records: Mapping[str, Record]) -> None:
    again = run_sweep(replace(forked, budgets=(*BUDGETS, 5)), server.base_url)
    account = again.account
    found = list(iter_records(forked.out))
    assert account["prompt_tokens"] == sum(r.prompt_tokens or 0 for r in found)
    assert account["all_generated_tokens"] == sum(r.generated_tokens for r in found)
    assert account["replies"]["trace"] == LIMIT
    cost = account["prompt_tokens"] * 1e-6 + account["all_generated_tokens"] * 1e-5
    assert account["cost"] == {
        "currency": "USD",
        "total": pytest.approx(cost),
        "input": pytest.approx(account["prompt_tokens"] * 1e-6),
        "output": pytest.approx(account["all_generated_tokens"] * 1e-5),
    }
    noted = read_account(forked.out)
    assert len(noted["sessions"]) == 2
    assert noted["wall_seconds"] == sum(session["wall_seconds"] for session in noted["sessions"]) > 0
    assert {r.endpoint for r in found} == {server.base_url}
    assert {r.attempts for r in found} == {1}
    assert all(r.prompt_tokens == len(r.prompt_token_ids) for r in found if r.prompt_token_ids)


def test_effort_levels_on_our_server(server: RunningServer, tmp_path: Path) -> None:
    settings = SweepSettings(
        "thinkmath",
        tmp_path,
        ("none", "low", "high"),
        limit=5,
        mode="direct",
        sampling=GREEDY,
        max_tokens=220,
    )
    run_sweep(settings, server.base_url)
    found = list(read_records(tmp_path)[0].values())
    assert len(found) == 15
    assert read_manifest(tmp_path)["settings"]["axis"] == "effort"
    thought = {level: 0 for level in ("none", "low", "high")}
    for record in found:
        thought[str(record.budget)] += record.thinking_tokens or 0
    assert thought["none"] == 0 < thought["low"]
    assert {r.stop_cause for r in found if r.budget == "none"} == {"disabled"}


def test_switch_on_our_server(server: RunningServer, tmp_path: Path) -> None:
    settings = SweepSettings(
        "thinkmath", tmp_path, ("off", "on"), limit=3, mode="direct", sampling=GREEDY, max_tokens=220
    )
    run_sweep(settings, server.base_url)
    for record in read_records(tmp_path)[0].values():
        assert (record.stop_cause == "disabled") == (record.budget == "off")
    with pytest.raises(ValueError, match="mode: forked cannot measure off, on; the switch axis"):
        replace(settings, mode="forked")


def test_sampled_replies_use_the_values_of_their_mode(server: RunningServer, tmp_path: Path) -> None:
    """The Qwen3 report's values: stored, and other replies than greedy ones."""
    settings = SweepSettings("thinkmath", tmp_path, (0, "max"), limit=3, samples=2, max_tokens=220)
    run_sweep(settings, server.base_url)
    stored = read_manifest(tmp_path)["settings"]["sampling"]
    assert stored["preset"] == "qwen3"
    assert stored["thinking"] == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "presence_penalty": 0.0}
    assert stored["no_thinking"] == {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5}
    assert not is_greedy(stored)
    assert all(r.seed is not None for r in iter_records(tmp_path))


def test_presets() -> None:
    assert sampling("qwen3", temperature=0) == GREEDY
    hot = sampling("qwq", temperature=1.0, top_p=None)
    assert (hot.preset, hot.thinking.temperature, hot.thinking.top_p) == ("qwq", 1.0, 0.95)
    assert hot.no_thinking.top_k == 40
    assert {name for name, preset in PRESETS.items() if preset.greedy} == {"greedy"}
    assert is_greedy(GREEDY.to_json())
    assert not is_greedy(PRESETS["server"].to_json())
    with pytest.raises(ValueError, match="top_k: -1 is negative"):
        sampling("qwen3", top_k=-1)


def test_missing_logprobs_are_an_error() -> None:
    choice = Choice(0, "", "", "stop", None, [1, 2], None)
    with pytest.raises(RuntimeError, match="give --logprobs off"):
        token_logprobs(choice, 0, range(0))
    short = replace(choice, logprobs=[TokenLogprob("a", -1.0)])
    with pytest.raises(RuntimeError, match="1 log probabilities for 2 tokens"):
        token_logprobs(short, 0, range(0))
    assert token_logprobs(choice, None, range(0)) is None
