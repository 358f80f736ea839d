"""Sources from problem sets, reasoning-gym and `datasets`: training splits only, and their columns."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from evals.grading import grade
from evals.problems import DATA_VARIABLE
from trainer.recipe.data import Source
from trainer.sources import open_sources
from trainer.sources.measure_tasks import RIGHT, near_misses
from trainer.sources.procedural import GRADABLE
from trainer.sources.stream import ExampleStream

REAL = Path(os.environ.get(DATA_VARIABLE, Path(__file__).parents[3] / "shared" / "data"))
PROBLEM = {"id": "1", "problem": "1+1?", "answer": "2", "level": 1}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    return folder


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def opened(**members: Any) -> ExampleStream:
    return open_sources([Source.model_validate(members)], 0)


@pytest.mark.parametrize("name", ["math_train", "math", "math[level=1]", "math_train[level=1-2]"])
def test_training_splits_are_read(data: Path, name: str) -> None:
    written(data / "math_train.jsonl", [PROBLEM])
    written(data / "math.jsonl", [{**PROBLEM, "problem": "held out"}])
    stream = opened(kind="problems", name=name)
    assert stream.size == 1
    assert stream.at(0).problem.problem == "1+1?"
    assert stream.at(0).response is None


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"name": "aime24"}, "'aime24' is an evaluation set.*no training split.*math_train, gsm8k_train"),
        ({"name": "aime25[level=1]"}, "'aime25' is an evaluation set"),
        ({"name": "math500"}, "'math500' is an evaluation set.*training split is name = 'math_train'"),
        ({"name": "hmmt_feb_2025"}, "'hmmt25' is an evaluation set"),
        ({"name": "amc23"}, "'amc23' is an evaluation set"),
        ({"name": "gsm8k_test"}, "'gsm8k' is an evaluation set.*name = 'gsm8k_train'"),
        ({"name": "gsm8k", "split": "test"}, "split: 'test' is not trained on"),
        ({"name": "math_train,aime26"}, "'aime26' is an evaluation set"),
        ({"name": "thinkmath"}, 'held-out problems; give kind = "thinkmath"'),
        ({"path": "DATA/math500.jsonl"}, "'math500' is an evaluation set"),
        ({"name": "aime24", "path": "DATA/own.jsonl"}, "'aime24' is an evaluation set"),
        ({"path": "DATA/absent.jsonl"}, "no file"),
    ],
)
def test_evaluation_sets_are_refused(data: Path, members: dict[str, str], message: str) -> None:
    for name in ("aime24", "math500", "own", "gsm8k_test", "math_train"):
        written(data / f"{name}.jsonl", [PROBLEM])
    if "path" in members:
        members = {**members, "path": members["path"].replace("DATA", str(data))}
    with pytest.raises(ValueError, match=message):
        opened(kind="problems", **members)


def test_an_evaluation_file_is_refused_as_jsonl_and_copy_too(data: Path) -> None:
    path = written(data / "aime25.jsonl", [PROBLEM])
    for kind in ("jsonl", "hub"):
        with pytest.raises(ValueError, match="'aime25' is an evaluation set"):
            opened(kind=kind, path=path)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("HuggingFaceH4/MATH-500", "test"),
        ("maxwell-jia/aime_2024", "train"),
        ("openai/gsm8k", "test"),
        ("openai/gsm8k", "train+test[:10]"),
    ],
)
def test_hub_ids_of_evaluation_splits_are_refused(name: str, split: str) -> None:
    with pytest.raises(ValueError, match=r"data\.0 \(hub\): name: .* is the evaluation set"):
        opened(kind="hub", name=name, split=split)


def test_a_set_of_ones_own_by_path(data: Path) -> None:
    stream = opened(kind="problems", path=written(data / "own.jsonl", [PROBLEM]))
    assert stream.at(0).problem.id == "own/1"


def test_parquet_json_and_folders_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import config

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    turns = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "<think>\nx\n</think>\n\n4"},
    ]
    parquet.write_table(pa.Table.from_pylist([{"chat": turns, "gold": 4}]), tmp_path / "chats.parquet")
    columns = {"messages": "chat", "answer": "gold"}
    example = opened(kind="hub", path=tmp_path / "chats.parquet", columns=columns).at(0)
    assert (example.problem.problem, example.problem.answer) == ("2+2?", "4")
    assert (example.thinking, example.response) == ("x", "4")
    for number in (1, 2):
        folder = tmp_path / str(number) / "set"
        folder.mkdir(parents=True)
        written(folder / "train.jsonl", [{"problem": f"{number}?", "answer": str(number)}])
    for number in (1, 2):
        stream = opened(kind="hub", path=tmp_path / str(number) / "set")
        assert (stream.size, stream.at(0).problem.problem) == (1, f"{number}?")
    with pytest.raises(ValueError, match=r"set row 0: .*no column 'q'"):
        opened(kind="hub", path=tmp_path / "1" / "set", columns={"problem": "q"})
    with pytest.raises(ValueError, match=r"`datasets` did not load .*split 'validation'"):
        opened(kind="hub", path=tmp_path / "1" / "set", split="validation")
    with pytest.raises(ValueError, match="options: 'streaming' is not known; give name"):
        opened(kind="hub", path=tmp_path / "1" / "set", options={"streaming": True})
    with pytest.raises(ValueError, match=r"is no folder and no file of \.parquet"):
        opened(kind="hub", path=tmp_path / "absent")


def test_a_task_is_endless_and_at_random_access() -> None:
    stream = opened(kind="reasoning_gym", name="chain_sum", options={"min_terms": 2, "max_terms": 2})
    assert stream.size is None
    later = stream.at(2500)
    assert [stream.at(index) for index in (0, 999, 1000, 2500)][-1] == later
    fresh = opened(kind="reasoning_gym", name="chain_sum", options={"min_terms": 2, "max_terms": 2})
    assert fresh.at(2500) == later
    assert later.problem.subject == "chain_sum"
    assert len({stream.at(index).problem.problem for index in range(0, 3000, 10)}) > 250


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no_such_task", {}, "'no_such_task' is no task of reasoning-gym; give one of .*chain_sum"),
        ("countdown", {}, "'countdown' is a task our grader cannot grade; give one of"),
        ("chain_sum", {"seed": 3}, "'seed' is not one of chain_sum's; give min_terms"),
        ("chain_sum", {"terms": 3}, "'terms' is not one of chain_sum's"),
        ("chain_sum", {"min_terms": 9, "max_terms": 2}, "chain_sum refuses"),
    ],
)
def test_tasks_and_options_that_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.0 \(reasoning_gym\): .*{message}"):
        opened(kind="reasoning_gym", name=name, options=options)


def test_our_grader_grades_the_tasks_that_are_offered() -> None:
    """A sample of what `measure_tasks` measures: own answers right, near misses as the task scores them."""
    from trainer.sources.procedural import Procedural

    for name in GRADABLE:
        task = Procedural(name, {}, seed=5)
        for index in (0, 1):
            dataset, entry = task.entry(index)
            answer = entry["answer"]
            assert grade(answer, f"So it is \\boxed{{{answer}}}.").correct, (name, answer)
            for other in near_misses(answer):
                right = dataset.score_answer(other, entry) >= RIGHT
                assert grade(answer, f"So it is \\boxed{{{other}}}.").correct == right, (name, answer, other)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real problem sets are not at hand")
@pytest.mark.parametrize(("name", "size"), [("gsm8k_train", 7473), ("math_train", 7468)])
def test_real_training_sets(name: str, size: int) -> None:
    path = REAL / f"{name}.jsonl"
    problems = opened(kind="problems", path=path)
    worked = opened(
        kind="jsonl", path=path, columns={"response": "solution"} if name == "gsm8k_train" else {}
    )
    assert (problems.size, worked.size) == (size, size)
    for index in (0, size - 1, 3 * size + 5):
        assert worked.at(index).problem == problems.at(index).problem
    if name == "gsm8k_train":
        examples = [worked.at(index) for index in range(50)]
        assert all(grade(each.problem.answer, each.response or "").correct for each in examples)
