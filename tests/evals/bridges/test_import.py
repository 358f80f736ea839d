"""Results that lm-eval, inspect and Qwen's harness wrote become runs with their numbers and ours."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from evals.bridges.import_runs import import_runs
from evals.bridges.imported import asked_budget, split_thinking
from evals.budgets import Budget
from evals.cli import main
from evals.compare.compare import compare
from evals.grading import grade
from evals.problems import load
from evals.records import Record
from evals.store import read_manifest, read_records
from evals.summary.scores import Scores
from evals.summary.summarise import summarise
from evals.sweep.dialects import DIALECTS
from serve.launch import RunningServer
from tests.evals.bridges.made_inspect_log import inspect_log, write_eval

DOCUMENTS = 5
TASK = r"""
task: calculate
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: [], do_sample: false, max_gen_toks: 220}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: whole, filter: [{function: take_first}]}
  - {name: boxed, filter: [{function: regex, regex_pattern: 'boxed\{(\d)\}'}, {function: take_first}]}
"""


@pytest.fixture(scope="module")
def written(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[Budget, Path]:
    """The samples of real lm-eval runs with its own client: two budgets, and one with repeats."""
    import datasets

    folder = tmp_path_factory.mktemp("harness")
    problems = load("thinkmath", limit=DOCUMENTS)
    data = folder / "problems.jsonl"
    rows = [{"question": p.problem, "answer": p.answer, "level": p.level} for p in problems]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "calculate.yaml").write_text(TASK.replace("DATA", json.dumps(str(data))))
    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    files: dict[Budget, Path] = {}
    for budget in (4, "max"):
        settings = {} if budget == "max" else {"thinking_token_budget": budget}
        tracker = EvaluationTracker(output_path=str(folder / f"out-{budget}"))
        found = lm_eval.simple_evaluate(
            model="local-chat-completions",
            model_args={
                "model": server.model,
                "base_url": f"{server.base_url}/v1/chat/completions",
                "num_concurrent": 4,
            },
            tasks=["calculate"],
            task_manager=manager,
            apply_chat_template=True,
            gen_kwargs=settings,
            evaluation_tracker=tracker,
            bootstrap_iters=0,
        )
        samples = found.pop("samples")
        tracker.save_results_aggregated(results=found, samples=samples)
        tracker.save_results_samples(task_name="calculate", samples=samples["calculate"])
        (files[budget],) = (folder / f"out-{budget}").glob("*/samples_calculate_*.jsonl")
    return files


def records(out: Path) -> list[Record]:
    found, failures = read_records(out)
    assert not failures
    return list(found.values())


def test_lm_eval_samples(server: RunningServer, written: dict[Budget, Path], tmp_path: Path) -> None:
    """A file for each budget makes the curve that the files hold; budget and model are read from them."""
    made = import_runs([(path, None) for path in written.values()], tmp_path, metric="exact_match,boxed")
    assert (made.problems, made.replies, made.scored) == (DOCUMENTS, 2 * DOCUMENTS, 2 * DOCUMENTS)
    manifest = read_manifest(tmp_path)
    assert manifest["plan"]["budgets"] == [4, "max"]
    assert manifest["settings"]["model"] == server.model
    lines = {b: [json.loads(line) for line in p.read_text().splitlines()] for b, p in written.items()}
    scores = Scores.read(tmp_path)
    assert scores is not None
    assert scores.metrics == {"calculate": "exact_match,boxed"}
    assert scores.source == f"lm-eval {lm_eval.__version__}"
    for record in records(tmp_path):
        (row,) = (
            row
            for row in lines[record.budget]
            if f"calculate/{row['doc_id']}" == record.problem and row["filter"] == "boxed"
        )
        assert record.answer == row["resps"][0][0]
        assert scores.values[record.key] == row["exact_match"]
        assert (record.gold, record.level) == (row["target"], row["doc"]["level"])
        unknown = ("thinking_tokens", "answer_tokens", "generated_tokens", "seconds", "token_ids", "thinking")
        assert {getattr(record, name) for name in unknown} == {None}
    for point, rows in zip(summarise(tmp_path)["points"], lines.values(), strict=True):
        right = [grade(row["target"], row["resps"][0][0]).correct for row in rows if row["filter"] == "boxed"]
        assert point["n"] == DOCUMENTS
        assert point["accuracy"] == pytest.approx(sum(right) / DOCUMENTS)
        assert point["mean_generated_tokens"] is None


def test_files_of_one_budget_are_further_samples(written: dict[Budget, Path], tmp_path: Path) -> None:
    again = tmp_path / written[4].name
    again.write_text(written[4].read_text())
    made = import_runs([(written[4], None), (again, 4)], tmp_path / "run", model="a-model")
    assert (made.replies, made.budgets) == (2 * DOCUMENTS, [4])
    assert read_manifest(tmp_path / "run")["plan"]["samples"] == 2
    assert sorted(r.sample for r in records(tmp_path / "run")) == [0] * DOCUMENTS + [1] * DOCUMENTS


def test_repeats_have_no_score_of_their_own(written: dict[Budget, Path], tmp_path: Path) -> None:
    """Where lm-eval scored four replies as one, the score is none of theirs."""
    rows = [json.loads(line) for line in written[4].read_text().splitlines()]
    for row in rows:
        row["resps"] = [[f"answer {i}" for i in range(4)]]
    path = tmp_path / "samples_calculate_2026-01-01T00-00-00.000000.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = import_runs([(path, None)], tmp_path / "run", model="a-model")
    assert (made.replies, made.scored) == (4 * DOCUMENTS, 0)
    assert Scores.read(tmp_path / "run") is None


QWQ = [
    {"prompt": "Is it 70?", "answer": 70, "gen": ["I think.\n</think>\n\nIt is \\boxed{70}."]},
    {"prompt": "Is it 70?", "answer": 70, "gen": ["Still thinking of \\boxed{70} and"]},
    {"prompt": "And 2?", "gold": "2", "gen": ["No.</think>\\boxed{3}", "Yes.</think>\\boxed{2}"]},
]


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_imported_runs_are_reported_compared_and_profiled(
    written: dict[Budget, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What works on a sweep works on an import; what its files do not tell is null everywhere."""
    runs = [tmp_path / "one", tmp_path / "two"]
    for run, model in zip(runs, ("first", "second"), strict=True):
        files = [(path, None) for path in written.values()]
        import_runs(files, run, model=model, metric="exact_match,boxed")
        assert main(["report", str(run), "--grader", "upstream"]) == 0
    assert "imported" in (runs[0] / "report.md").read_text()
    totals = summarise(runs[0])["totals"]
    unknown = (
        "prompt_tokens",
        "all_generated_tokens",
        "thinking_tokens",
        "seconds",
        "attempts",
        "wall_seconds",
    )
    assert {totals[name] for name in unknown} == {None}
    assert main(["compare", *map(str, runs)]) == 0
    assert main(["profile", str(runs[0])]) == 0
    (pair,) = compare(runs, "upstream")["pairs"]
    assert [point["difference"]["mean"] for point in pair["points"]] == [0, 0]


def test_lists_of_generations(tmp_path: Path) -> None:
    """QwQ's harness writes a line for each reply; the prompt opened the thinking, so one never ended it."""
    path = write_lines(tmp_path / "aime.jsonl", QWQ)
    made = import_runs([(path, 32768)], tmp_path / "run", model="QwQ-32B")
    assert (made.problems, made.replies, made.scored) == (2, 4, 0)
    drawn = {(r.problem, r.sample): r for r in records(tmp_path / "run")}
    assert {r.set for r in drawn.values()} == {"aime"}
    (first, second, third, fourth) = drawn.values()
    assert (first.thinking, first.answer, first.gold) == ("I think.", "\n\nIt is \\boxed{70}.", "70")
    assert (second.thinking, second.answer) == ("Still thinking of \\boxed{70} and", "")
    assert (second.stop_cause, second.sample) == ("length", 1)
    assert [r.answer for r in (third, fourth)] == ["\\boxed{3}", "\\boxed{2}"]
    (point,) = summarise(tmp_path / "run")["points"]
    assert point["accuracy"] == 0.5


def test_qwen_math_outputs_keep_their_scores(tmp_path: Path) -> None:
    rows = [
        {
            "idx": 3,
            "question": "One half?",
            "gt": "1/2",
            "level": "Level 3",
            "code": ["\\boxed{0.5}", "?"],
            "score": [True, False],
        }
    ]
    path = write_lines(tmp_path / "math.jsonl", rows)
    import_runs([(path, None)], tmp_path / "run", model="Qwen2.5-Math", budget=0)
    scores = Scores.read(tmp_path / "run")
    assert scores is not None
    drawn = records(tmp_path / "run")
    assert [scores.values[r.key] for r in drawn] == [1, 0]
    assert {(r.problem, r.level, r.budget) for r in drawn} == {("3", "Level 3", 0)}


@pytest.mark.parametrize("form", ["json", "eval", "zstandard"])
def test_inspect_logs(form: str, tmp_path: Path) -> None:
    if form == "json":
        path = tmp_path / "log.json"
        path.write_text(json.dumps(inspect_log()))
    else:
        path = write_eval(tmp_path / "log.eval", inspect_log(), packed=form == "zstandard")
    made = import_runs([(path, None)], tmp_path / "run")
    assert (made.problems, made.replies, made.scored, made.budgets) == (2, 3, 2, [512])
    assert made.failed == [f"{path}: sample 2, epoch 2: connection reset"]
    one, cut, two = records(tmp_path / "run")
    assert (one.problem, cut.problem, two.problem) == ("sums/1", "sums/1", "sums/2")
    assert (one.sample, cut.sample, two.sample) == (0, 1, 0)
    assert (one.thinking, one.answer, one.thinking_tokens, one.generated_tokens) == (
        "1 + 1",
        "\\boxed{2}",
        None,
        8,
    )
    assert (cut.thinking, cut.answer, cut.stop_cause, cut.finish_reason) == ("hm, 1", "", "length", "length")
    assert (two.thinking, two.answer) == ("2 + 2", "It is \\boxed{4}.")
    assert (two.thinking_tokens, two.answer_tokens, two.generated_tokens, two.prompt_tokens) == (
        12,
        18,
        30,
        25,
    )
    assert (two.level, two.subject, two.seconds, two.seed) == (2, "algebra", 1.5, 3)
    scores = Scores.read(tmp_path / "run")
    assert scores is not None
    assert scores.values == {one.key: 0.0, two.key: 1.0}
    assert (scores.source, scores.metrics) == ("inspect 0.3.285", {"sums": "math"})
    settings = read_manifest(tmp_path / "run")["settings"]
    assert settings["model"] == "vllm/qwen3"
    assert settings["sampling"]["thinking"]["temperature"] == 0.6
    with pytest.raises(ValueError, match=r"the score by 'judge' is \{'tone': 1\}, not a share"):
        import_runs([(path, None)], tmp_path / "other", metric="judge")


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", QWQ)
    other = write_lines(tmp_path / "b.jsonl", [{"id": "1", "prompt": "p", "answer": "1", "gen": ["2"]}])
    third = write_lines(tmp_path / "c.jsonl", [{"id": "1", "prompt": "p", "answer": "2", "gen": ["2"]}])
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="model: the files name none; give --model"):
        import_runs([(path, None)], out)
    with pytest.raises(ValueError, match=r"a\.jsonl is given twice"):
        import_runs([(path, None), (path, 4)], out, model="m")
    with pytest.raises(ValueError, match=r"c\.jsonl:1: problem '1' has the gold '2', another file has '1'"):
        import_runs([(other, 4), (third, 8)], out, model="m")
    with pytest.raises(ValueError, match="low counts effort and max tokens"):
        import_runs([(other, "low"), (path, "max")], out, model="m")
    assert not out.exists(), "nothing is written before all is understood"
    import_runs([(other, 4)], out, model="m")
    with pytest.raises(ValueError, match="holds a run"):
        import_runs([(path, 4)], out, model="m")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"prompt": "p", "answer": 1, "gen": ["x"]}\n{"prompt"', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", "[1]\n", r"a\.jsonl:1: expected a JSON object, got list"),
        (
            "a.jsonl",
            '{"answer": 1, "gen": ["x"]}',
            r"a\.jsonl:1: none of the members prompt, question, problem",
        ),
        ("a.jsonl", '{"prompt": "p", "answer": 1, "gen": [1]}', r"a\.jsonl:1: member 'gen' holds \[1\]"),
        (
            "a.jsonl",
            '{"prompt": "p", "answer": 1, "gen": ["x"], "score": [100]}',
            r"a\.jsonl:1: member 'score' holds 100",
        ),
        (
            "a.jsonl",
            '{"doc_id": 0, "resps": [["x"]], "metrics": ["acc"], "acc": 1, "target": "1", "doc": {}, '
            '"arguments": {"gen_args_0": {"arg_0": "p", "arg_1": {"chat_template_kwargs": "{}"}}}}',
            r"a\.jsonl:1: chat_template_kwargs is '{}'",
        ),
        ("a.jsonl", '{"text": "p"}', r"a\.jsonl:1: neither a sample of lm-eval .* nor a list of generations"),
        ("a.jsonl", "", r"a\.jsonl: no replies in it"),
        (
            "a.jsonl",
            '{"doc_id": 0, "resps": [["x"]], "metrics": ["acc"]}',
            r"a\.jsonl:1: member 'arguments' is missing",
        ),
        ("a.json", '{"eval": {"task": "t"}}', r"a\.json: member 'samples' is missing"),
        ("a.eval", "nothing", r"a\.eval: not a log of inspect"),
        ("a.csv", "x", r"a\.csv: files end in \.jsonl"),
    ],
)
def test_files_that_are_not_understood_are_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        import_runs([(tmp_path / name, None)], tmp_path / "run", model="m")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low = write_lines(tmp_path / "low=er.jsonl", QWQ)
    high = write_lines(tmp_path / "high.jsonl", QWQ)
    arguments = ["import", str(low), f"{high}=64", "--budget", "8", "--model", "QwQ-32B"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert "8 replies to 2 problems at 8, 64; 0 with a score" in capsys.readouterr().err
    assert [p["budget"] for p in summarise(tmp_path / "run")["points"]] == [8, 64]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert "holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["<think>a</think>b"], [("a", "b", False)]),
        (["<think>a"], [("a", "", True)]),
        (["a</think>b", "c"], [("a", "b", False), ("c", "", True)]),
        (["a", "<think></think>b"], [(None, "a", False), ("", "b", False)]),
        (["<think>a</think>b</think>c"], [("a</think>b", "c", False)]),
    ],
)
def test_thinking_is_told_from_the_answer(texts: list[str], expected: Any) -> None:
    assert split_thinking(texts) == expected


@pytest.mark.parametrize(
    ("settings", "budget"),
    [
        *[({**dialect.fields(64)}, 64) for dialect in DIALECTS.values() if dialect.tokens],
        *[({"extra_body": dialect.fields("low")}, "low") for dialect in DIALECTS.values() if dialect.effort],
        *[(dialect.off, "none" if dialect.name == "openai" else 0) for dialect in DIALECTS.values()],
        ({"thinking": {"budget": -1}}, "max"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, 1024),
        ({"chat_template_kwargs": {"thinking_budget": 512}}, 512),
        ({"chat_template_kwargs": {"thinking": False}}, 0),
        ({"temperature": 0, "chat_template_kwargs": {"thinking": True}}, None),
    ],
)
def test_budgets_are_read_as_servers_are_told_them(settings: dict[str, Any], budget: Budget | None) -> None:
    assert asked_budget(settings, "a") == budget
