"""lm-eval's own tasks swept over budgets against the real server, and scored by lm-eval itself."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

from evals.bridges.lm_eval_model import Chat, cut_answer
from evals.bridges.lm_eval_sweep import RESULTS, TaskChoice, gold, load_tasks, sweep_tasks
from evals.bridges.replies import replies_at
from evals.budgets import Budget
from evals.cli import main
from evals.grading import grade
from evals.problems import load
from evals.records import Record
from evals.store import SAMPLES, read_records
from evals.summary.replies import read_run
from evals.summary.scores import SCORES, Scores
from evals.summary.summarise import summarise
from evals.sweep.presets import GREEDY, sampling
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve.launch import RunningServer

pytestmark = pytest.mark.slow

BUDGETS: tuple[Budget, ...] = (0, 4, 24, "max")
MAX_TOKENS = 220
DOCUMENTS = 6
HOT = sampling("server", temperature=1.5)
TASK = r"""
task: NAME
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["Question:", "<|im_end|>", "</s>", "Z", "="], do_sample: false, max_gen_toks: 3}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""
BOXED = r"""
filter_list:
  - {name: boxed, filter: [{function: regex, regex_pattern: 'boxed\{(\d)\}'}, {function: take_first}]}
"""
VOTED = r"""
repeats: 3
filter_list:
  - {name: maj@3, filter: [{function: take_first_k, k: 3}, {function: regex, regex_pattern: 'boxed\{(\d)\}'},
      {function: majority_vote}, {function: take_first}]}
  - {name: boxed, filter: [{function: regex, regex_pattern: 'boxed\{(\d)\}'}, {function: take_first}]}
"""
CHOICE = r"""
task: likelihood
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
doc_to_choice: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
"""
FEWSHOT = r"""
description: "You calculate modulo 10."
fewshot_split: test
num_fewshot: 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of task files on our own problems."""
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "problems.jsonl"
    rows = [
        {"question": p.problem, "answer": p.answer, "level": p.level} for p in load("thinkmath", limit=12)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = {
        "plain": TASK + BOXED,
        "voted": TASK + VOTED,
        "likelihood": CHOICE,
        "fewshot": TASK + BOXED + FEWSHOT,
        "harsh": TASK,
        "begun": TASK + BOXED + 'gen_prefix: "Answer:"\n',
    }
    for name, text in parts.items():
        (folder / f"{name}.yaml").write_text(
            text.replace("NAME", name).replace("DATA", json.dumps(str(data)))
        )
    return folder


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def choice(folder: Path, *tasks: str, **fields: Any) -> TaskChoice:
    return TaskChoice(tasks, include_path=(folder,), limit=DOCUMENTS, **fields)


def sweep(
    server: RunningServer, chosen: TaskChoice, settings: SweepSettings, samples: int | None = None
) -> dict[str, Any]:
    return sweep_tasks(
        chosen, settings, lambda s, problems: run_sweep(s, server.base_url, problems=problems), samples
    )


def records(out: Path) -> list[Record]:
    found, failures = read_records(out)
    assert not failures
    return list(found.values())


@pytest.fixture(scope="module")
def forked(
    server: RunningServer, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "forked"
    settings = SweepSettings("plain", out, BUDGETS, max_tokens=MAX_TOKENS, sampling=GREEDY)
    return out, sweep(server, choice(folder, "plain"), settings)


def test_replies_are_those_of_a_sweep_of_the_same_problems(
    server: RunningServer, forked: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Token for token: what is asked and drawn is the same, and thinking and reports are kept."""
    run_sweep(
        SweepSettings(
            "thinkmath", tmp_path, BUDGETS, limit=DOCUMENTS, max_tokens=MAX_TOKENS, sampling=GREEDY
        ),
        server.base_url,
    )
    problems = [p.id for p in load("thinkmath", limit=DOCUMENTS)]
    known = {(r.problem, r.kind, r.budget): r for r in records(tmp_path)}
    drawn = records(forked[0])
    assert len(drawn) == len(known)
    for record in drawn:
        same = known[problems[int(record.problem.removeprefix("plain/"))], record.kind, record.budget]
        for field in (
            "token_ids",
            "thinking",
            "answer",
            "stop_cause",
            "thinking_tokens",
            "finish_reason",
            "gold",
        ):
            assert getattr(record, field) == getattr(same, field), field


def test_lm_eval_scores_every_budget(forked: tuple[Path, dict[str, Any]]) -> None:
    """Its metric at each budget is the share that our grader calls right, and each reply's score agrees."""
    out, results = forked
    scores = Scores.read(out)
    assert scores is not None
    assert scores.source == f"lm-eval {lm_eval.__version__}"
    assert scores.metrics == {"plain": "exact_match,boxed"}
    right_at = []
    for budget, point in zip(BUDGETS, results["points"], strict=True):
        replies = replies_at(records(out), budget)
        assert len(replies) == DOCUMENTS
        right = [grade(r.gold, r.answer).correct for r in replies.values()]
        assert [scores.values[r.key] == 1 for r in replies.values()] == right
        mean = sum(right) / DOCUMENTS
        assert point["results"]["plain"]["exact_match,boxed"] == pytest.approx(mean)
        assert point["each_sample"]["plain"] == pytest.approx(mean)
        assert (point["budget"], point["missing"]) == (budget, 0)
        right_at.append(mean)
    assert len(set(right_at)) > 1, "these problems must tell budgets apart"
    assert json.loads((out / RESULTS).read_text())["points"][0]["results"].keys() == {"plain"}


def test_reports_count_what_lm_eval_says_or_what_our_grader_says(
    server: RunningServer, folder: Path, forked: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """A task whose own scoring is always wrong has an accuracy of 0 by `upstream`, and ours by our grader."""
    found = summarise(forked[0], "upstream")
    assert found["grader"] == f"lm-eval {lm_eval.__version__}"
    shares = [point["results"]["plain"]["exact_match,boxed"] for point in forked[1]["points"]]
    assert [point["accuracy"] for point in found["points"]] == pytest.approx(shares)
    settings = SweepSettings("harsh", tmp_path, BUDGETS, max_tokens=MAX_TOKENS, sampling=GREEDY)
    sweep(server, choice(folder, "harsh"), settings)
    harsh, lenient = summarise(tmp_path, "upstream"), summarise(tmp_path)
    assert [point["accuracy"] for point in harsh["points"]] == [0, 0, 0, 0]
    assert [point["verdicts"] for point in harsh["points"]] == [{"different": DOCUMENTS}] * 4
    assert [point["accuracy"] for point in lenient["points"]] == pytest.approx(shares)
    with pytest.raises(ValueError, match=r"grader: .* has no scores\.json"):
        read_run(_unscored(forked[0], tmp_path / "unscored"), "upstream")


def test_direct_replies_that_check_a_forked_run_are_scored_too(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    settings = SweepSettings(
        "plain", tmp_path, (4, 24), max_tokens=MAX_TOKENS, sampling=GREEDY, crosscheck=1.0
    )
    sweep(server, choice(folder, "plain"), settings)
    checked = [r for r in records(tmp_path) if r.kind == "direct"]
    scores = Scores.read(tmp_path)
    assert scores is not None
    assert len(checked) == 2 * DOCUMENTS
    assert all(scores.values[r.key] == grade(r.gold, r.answer).correct for r in checked)
    crosscheck = summarise(tmp_path, "upstream")["crosscheck"]
    assert [point["n"] for point in crosscheck["points"]] == [DOCUMENTS] * 2
    assert crosscheck["agree"]


def _unscored(out: Path, copy: Path) -> Path:
    shutil.copytree(out, copy)
    (copy / SCORES).unlink()
    return copy


def test_a_finished_sweep_draws_nothing_more(
    server: RunningServer, folder: Path, forked: tuple[Path, dict[str, Any]]
) -> None:
    out, results = forked
    before = (out / SAMPLES).read_bytes(), (out / SCORES).read_bytes()
    settings = SweepSettings("plain", out, BUDGETS, max_tokens=MAX_TOKENS, sampling=GREEDY)
    assert sweep(server, choice(folder, "plain"), settings) == results
    assert ((out / SAMPLES).read_bytes(), (out / SCORES).read_bytes()) == before


def test_samples_have_their_own_seeds_and_scores(server: RunningServer, folder: Path, tmp_path: Path) -> None:
    """A task that votes over its repeats is scored as it says, and so is each reply alone."""
    settings = SweepSettings("voted", tmp_path, (0, "max"), max_tokens=MAX_TOKENS, sampling=HOT)
    results = sweep(server, replace(choice(folder, "voted"), limit=3), settings)
    drawn = records(tmp_path)
    assert len(drawn) == 2 * 3 * 3
    assert len({r.seed for r in drawn}) == len(drawn)
    scores = Scores.read(tmp_path)
    assert scores is not None
    assert scores.metrics == {"voted": "exact_match,boxed"}
    assert {r.key: float(grade(r.gold, r.answer).correct) for r in drawn} == scores.values
    for point in results["points"]:
        found = replies_at(drawn, point["budget"])
        right = [scores.values[r.key] for r in found.values()]
        assert point["each_sample"]["voted"] == pytest.approx(sum(right) / 9)
        first = [scores.values[r.key] for (_, sample), r in found.items() if sample == 0]
        assert point["results"]["voted"]["exact_match,boxed"] == pytest.approx(sum(first) / 3)
        assert "exact_match,maj@3" in point["results"]["voted"]
    with pytest.raises(ValueError, match="samples: 2 is too few for voted, which takes the first 3"):
        sweep(server, choice(folder, "voted"), settings, samples=2)


def test_examples_and_system_turns_are_sent_as_turns(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    settings = SweepSettings("fewshot", tmp_path, (4, "max"), max_tokens=MAX_TOKENS, sampling=GREEDY)
    sweep(server, replace(choice(folder, "fewshot"), limit=2), settings)
    traces = [r for r in records(tmp_path) if r.kind == "trace"]
    prompts = [r.prompt_token_ids for r in traces]
    assert all(prompt.count(prompt[0]) == 7 for prompt in prompts if prompt), "seven turns begin"
    assert len(traces) == 2, "the same examples at every budget"


def test_the_registered_model(
    server: RunningServer, folder: Path, tmp_path: Path, forked: tuple[Path, dict[str, Any]]
) -> None:
    """A script that calls lm-eval itself gets one budget scored and all of them drawn."""
    found = lm_eval.simple_evaluate(
        model="thinkdial",
        model_args={
            "base_url": server.base_url,
            "out": str(tmp_path / "run"),
            "budgets": "0,4",
            "budget": 4,
            "max_tokens": MAX_TOKENS,
            "sampling": "greedy",
        },
        tasks=["plain"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        limit=DOCUMENTS,
        apply_chat_template=True,
        bootstrap_iters=0,
    )
    assert {r.budget for r in records(tmp_path / "run")} == {0, 4, "max"}
    assert (
        found["results"]["plain"]["exact_match,boxed"]
        == forked[1]["points"][1]["results"]["plain"]["exact_match,boxed"]
    )


def test_tasks_that_cannot_be_swept_are_refused(server: RunningServer, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="likelihood compare likelihoods of given texts"):
        load_tasks(choice(folder, "plain", "likelihood"))
    with pytest.raises(ValueError, match=r"'nothing' is not a registered task.*--include-path"):
        load_tasks(choice(folder, "nothing"))
    settings = SweepSettings("begun", tmp_path, (4,), max_tokens=MAX_TOKENS, sampling=GREEDY)
    with pytest.raises(ValueError, match="begins the answer for the model"):
        sweep(server, choice(folder, "begun"), settings)
    settings = SweepSettings("plain", tmp_path, (0,), max_tokens=MAX_TOKENS, sampling=GREEDY)
    with pytest.raises(ValueError, match=r"metric: 'bleu' of plain is None .* give one of: exact_match"):
        sweep(server, choice(folder, "plain", metric="bleu"), settings)
    with pytest.raises(ValueError, match="filter: 'last' of plain cannot score a single reply"):
        sweep(server, choice(folder, "plain", filter="last"), settings)


def test_the_command(
    server: RunningServer, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "lm-eval",
        "--tasks",
        "plain",
        "--include-path",
        str(folder),
        "--limit",
        "2",
        "--budgets",
        "0,max",
    ]
    arguments += [
        "--base-url",
        server.base_url,
        "--out",
        str(tmp_path),
        "--max-tokens",
        str(MAX_TOKENS),
        "--sampling",
        "greedy",
    ]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "plain exact_match,boxed" in said
    assert (tmp_path / "summary.json").is_file()
    arguments[2] = "likelihood"
    assert main(arguments) == 2
    assert "no budget to sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "until", "cut"),
    [
        ("\n\nThe answer is 4.\n\nQ: next", ["\n\n"], "The answer is 4."),
        ("a b c d e f", ["f", "e", "d", "c", "b"], "a "),
        ("whole", ["", "none"], "whole"),
        ("one stop", "stop", "one "),
        ("no stops", None, "no stops"),
    ],
)
def test_stop_strings_end_the_answer(answer: str, until: Any, cut: str) -> None:
    assert cut_answer(answer, until) == cut


def test_golds(folder: Path) -> None:
    """A worked solution of GSM8K is graded by what stands after its marks."""
    task = load_tasks(choice(folder, "plain"))["tasks"]["plain"]
    assert gold(task, {"answer": "2 + 2 = 4\n#### 4"}) == "4"
    assert gold(task, {"answer": " 12 "}) == "12"


def test_a_conversation_keeps_its_turns() -> None:
    turns = [{"role": "user", "content": 'say "é"'}, {"role": "assistant", "content": "é"}]
    assert Chat(json.dumps(turns)).turns == (("user", 'say "é"'), ("assistant", "é"))
