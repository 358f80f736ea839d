"""Sets by name: hub layouts are read through `datasets`, data folders obeyed, wrong specs refused clearly."""

import json
import os
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in_hub import hub_handler

from evals.cli import main
from evals.problems import DATA_VARIABLE, load
from evals.problems.catalogue import SETS
from evals.problems.gold import boxed, last_boxed
from evals.problems.selector import parse_selectors

REAL = Path(__file__).parents[3] / "shared" / "data"

# The columns of each hub repository, one row as it stands there (shortened), and what is to be read from it.
PUBLISHED = {
    "aime24": (
        {"ID": "2024-II-4", "Problem": "Let $x$.", "Solution": "So.", "Answer": 33},
        ("aime24/2024-II-4", "33", None, None),
    ),
    "aime25": (
        {"problem": "Find the sum.", "answer": "070", "id": "0"},
        ("aime25/0", "70", None, None),
    ),
    "aime26": (
        {"problem_idx": 1, "problem": "Find $n$.", "answer": 277},
        ("aime26/1", "277", None, None),
    ),
    "amc23": (
        {"id": 0, "answer": 27.0, "url": "https://example.org", "question": "How many miles?"},
        ("amc23/0", "27", None, None),
    ),
    "hmmt25": (
        {
            "problem_idx": 1,
            "problem": "P?",
            "answer": "\\frac{1}{2}",
            "problem_type": ["Algebra", "Geometry"],
        },
        ("hmmt25/1", "\\frac{1}{2}", None, "Algebra, Geometry"),
    ),
    "math500": (
        {
            "problem": "Convert.",
            "solution": "\\boxed{p - q}",
            "answer": "p - q",
            "subject": "Precalculus",
            "level": 2,
            "unique_id": "test/precalculus/807.json",
        },
        ("math500/test/precalculus/807.json", "p - q", 2, "Precalculus"),
    ),
    "math": (
        {
            "problem": "How many?",
            "level": "Level 3",
            "type": "Algebra",
            "solution": "First \\boxed{1}, then $\\boxed{\\frac{1}{\\sqrt{2}}}$.",
        },
        ("math/0", "\\frac{1}{\\sqrt{2}}", 3, "Algebra"),
    ),
    "gsm8k": (
        {"question": "How much?", "answer": "She has <<5*300=1500>>1500 #3.\n#### 1,500"},
        ("gsm8k/0", "1500", None, None),
    ),
    "minerva": (
        {"question": "Luminosity?", "answer": "4.5e33"},
        ("minerva/0", "4.5e33", None, None),
    ),
    "olympiadbench": (
        {
            "id": 1606,
            "question": "For which $n$?",
            "solution": ["So."],
            "final_answer": ["$69$,$84$", "$7$"],
            "context": "A number is lucky.",
            "image_1": None,
            "modality": "Text-only",
            "difficulty": "Competition",
            "is_multiple_answer": True,
            "unit": None,
            "answer_type": "Numerical",
            "error": None,
            "question_type": "Open-ended",
            "subfield": "Number Theory",
            "subject": "Math",
            "language": "English",
        },
        ("olympiadbench/1606", "69,84, 7", None, "Number Theory"),
    ),
}


def publish(folder: Path, name: str, row: dict[str, object]) -> None:
    """A copy of a hub repository as `hf download` makes it: a card with configs and splits, and data."""
    entry = SETS[name]
    lines = ["---", "configs:"]
    for config in entry.configs:
        data = f"{config or 'data'}/{entry.split}-00000-of-00001.jsonl"
        lines += [f"- config_name: {config or 'default'}", "  data_files:", f"  - split: {entry.split}"]
        lines += [f"    path: {data}"]
        path = folder / name / data
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (folder / name / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    return folder


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_hub_columns_are_read(data: Path, name: str) -> None:
    row, (identity, answer, level, subject) = PUBLISHED[name]
    publish(data, name, row)
    problems = load(name)
    assert len(problems) == len(SETS[name].configs)
    first = problems[0]
    assert (first.id, first.answer, first.level, first.subject) == (identity, answer, level, subject)
    assert first.set == name
    assert len({problem.id for problem in problems}) == len(problems)
    assert first.problem.endswith(("?", "."))
    if name == "olympiadbench":
        assert first.problem == "A number is lucky.\nFor which $n$?"


def test_every_known_set_is_tried() -> None:
    assert {*PUBLISHED, "math_train", "gsm8k_train"} == set(SETS)


def test_rows_without_gold_are_left_out_and_other_columns_refused(data: Path) -> None:
    row, _ = PUBLISHED["math"]
    publish(data, "math", row)
    algebra = data / "math" / "algebra" / "test-00000-of-00001.jsonl"
    algebra.write_text(json.dumps(row | {"solution": "\\boxed{}"}) + "\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="math: left out 1 rows without a gold answer.*row 0"):
        assert len(load("math")) == len(SETS["math"].configs) - 1
    publish(data, "aime25", {"text": "Find.", "answer": "1"})
    with pytest.raises(ValueError, match=r"aime25 .* has no column 'problem'; it has text, answer"):
        load("aime25")
    publish(data, "gsm8k", {"question": "How?", "answer": "1500"})
    with pytest.raises(ValueError, match=r"no row of gsm8k .*'#### ANSWER'"):
        load("gsm8k")


def test_data_folder_files_go_by_their_names(data: Path, tmp_path: Path) -> None:
    write(data / "hmmt_feb_2025.jsonl", [{"id": "hmmt_feb_2025-00", "problem": "p", "answer": "1"}])
    write(data / "mine.jsonl", [{"id": 1, "problem": "q", "answer": "2"}])
    for spec in ("hmmt25", "hmmt_feb_2025", str(data / "hmmt_feb_2025.jsonl")):
        (problem,) = load(spec)
        assert (problem.id, problem.set) == ("hmmt25/hmmt_feb_2025-00", "hmmt25")
    assert [problem.id for problem in load(["mine", "hmmt25"])] == ["mine/1", "hmmt25/hmmt_feb_2025-00"]
    assert load("mine, hmmt25") == load(["mine", "hmmt25"])
    other = write(tmp_path / "mine.jsonl", [{"id": 1, "problem": "another", "answer": "2"}])
    with pytest.raises(ValueError, match="two different problems have the id 'mine/1'"):
        load(["mine", str(other)])
    assert len(load(["mine", "mine"])) == 1


def test_ids_do_not_depend_on_what_else_is_asked(data: Path) -> None:
    write(data / "a.jsonl", [{"id": i, "problem": f"p{i}", "answer": "1", "level": i % 3} for i in range(9)])
    write(data / "b.jsonl", [{"id": i, "problem": f"p{i}", "answer": "1"} for i in range(9)])
    assert load(["a", "b"]) == load("a") + load("b")
    assert load(["a[level=1]", "b"], limit=2) == load("a[level=1]")[:2] + load("b")[:2]
    assert load(["a[level=1]", "a[level=0|1]"]) == load("a[level=1]") + load("a[level=0]")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 9), st.integers(0, 9))
def test_level_filters_select_what_they_say(levels: list[int], low: int, high: int) -> None:
    (selector,) = parse_selectors(f"x[level={'|'.join(map(str, levels))}|{low}-{high}]")
    assert set(selector.levels(range(20))) == {n for n in range(20) if n in levels or low <= n <= high}
    assert parse_selectors(str(selector)) == [selector]


def test_subject_filters_ignore_case_and_joints(data: Path) -> None:
    subjects = [
        "Counting & Probability",
        "counting_and_probability",
        "Algebra",
        "Intermediate Algebra, Topology",
        None,
    ]
    rows = [{"id": i, "problem": "p", "answer": "1", "subject": s} for i, s in enumerate(subjects)]
    write(data / "x.jsonl", rows)

    def ids(spec: str) -> list[str]:
        return [problem.id for problem in load(spec)]

    assert ids("x[subject=counting and probability]") == ["x/0", "x/1"]
    assert ids("x[subject=Algebra]") == ["x/2"]
    assert ids("x[subject=algebra|Intermediate_Algebra,id=x/3|x/2]") == ["x/2", "x/3"]
    assert ids("x[subject=Topology]") == ["x/3"]
    with pytest.raises(ValueError, match=r"x\[subject=Logic\] selects nothing; .*'Algebra'"):
        load("x[subject=Logic]")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("x[level]", "'level' in 'x.level.' is not a filter"),
        ("x[levels=1]", "with a key of level, subject, id"),
        ("x[level=1", "is not NAME or NAME"),
        ("x[level=1,level=2]", "'level' is given twice"),
        (" , ", "names no set"),
        ("nothing.jsonl", "there is no file 'nothing.jsonl'"),
        ("thinkmath[level=9]", "selects nothing; thinkmath has, by level"),
        ("thinkmath[level=1,subject=majority]", "selects nothing; thinkmath has, by level"),
    ],
)
def test_wrong_specs_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(spec)


def test_thinkmath_by_level_is_part_of_thinkmath() -> None:
    everything = load("thinkmath")
    assert load("thinkmath[level=4]") == [problem for problem in everything if problem.level == 4]
    more = load("thinkmath[level=4-5,subject=chain]", limit=50)
    assert len(more) == 50
    assert {(problem.level, problem.subject) for problem in more} == {(4, "chain"), (5, "chain")}
    few = load("thinkmath[level=4-5,subject=chain]")
    assert few == more[: len(few)]


def load_elsewhere(specs: list[str], home: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Load sets one by one in a process of their own, as `datasets` reads its settings once."""
    offline = (DATA_VARIABLE, "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {key: value for key, value in os.environ.items() if key not in offline}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint}
    code = f"from evals.problems import load\nfor spec in {specs!r}: print(spec, [p.id for p in load(spec)])"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )


def test_sets_come_from_the_hub_then_from_its_cache_and_missing_ones_are_told(tmp_path: Path) -> None:
    row, (identity, *_) = PUBLISHED["aime25"]
    publish(tmp_path, "aime25", row)
    copy = tmp_path / "aime25"
    files = {str(path.relative_to(copy)): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    commit = SETS["aime25"].revision
    assert commit
    handler = hub_handler("math-ai/aime25", commit, files)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{hub.server_port}"
        online = load_elsewhere(["aime25"], tmp_path / "home", endpoint)
        hub.shutdown()
    assert online.stdout == f"aime25 ['{identity}']\n", online.stderr
    assert f"/datasets/math-ai/aime25/resolve/{commit}/README.md" in handler.asked
    offline = load_elsewhere(["aime25", "minerva"], tmp_path / "home", endpoint)
    assert offline.stdout == online.stdout, offline.stderr
    # Left alone, `datasets` would try again for half a minute, and say so.
    assert "Retrying" not in offline.stderr
    assert "hf download --repo-type dataset math-ai/minervamath --local-dir DIR/minerva" in offline.stderr
    assert "put minerva.jsonl, one {id, problem, answer} object a line, into DIR" in offline.stderr


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{\frac{1}{2}} and \boxed{x}", "x"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed {5}", "5"),
        (r"\fbox{7}", "7"),
        (r"\boxed 3.", "3"),
        (r"\boxed{2} then \boxed{3", "2"),
        ("no box", None),
    ],
)
def test_last_box(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


def test_listing_showing_and_exporting(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(data / "aime24.jsonl", [{"id": i, "problem": f"Find {i}.", "answer": "1"} for i in range(5)])
    write(data / "mine.jsonl", [{"id": 1, "problem": "q", "answer": "2", "level": 4, "subject": "Sums"}])
    assert main(["problems"]) == 0
    listing = capsys.readouterr().out
    for name, entry in SETS.items():
        assert any(line.startswith(f"{name} ") and entry.hub in line for line in listing.splitlines())
    assert str(data / "mine.jsonl") in listing
    assert main(["problems", "aime24", "mine"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n--- ") + 1 == 4
    assert "--- aime24/0 · prompt qwen3 · gold 1\nFind 0.\nPlease reason step by step" in shown
    assert "--- mine/1 · level 4 · Sums · prompt plain · gold 2\nq" in shown
    exported = tmp_path / "aime24.jsonl"
    assert main(["problems", "aime24", "--export", str(exported), "--prompt", "Q {problem}"]) == 0
    assert load(str(exported)) == load("aime24")
    assert json.loads(exported.read_text().splitlines()[0])["prompt"] == "Q Find 0."
    assert main(["problems", "none"]) == 2
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
    assert main(["problems"]) == 2
    assert "nowhere' is not a folder" in capsys.readouterr().err
    monkeypatch.setenv(DATA_VARIABLE, str(data))
    assert main(["problems", "--export", str(exported)]) == 2
    assert main(["problems", "mine", "--prompt", "none"]) == 2


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real problem sets beside the checkout")
def test_real_sets_load_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(REAL))
    for name in ("aime24", "aime25", "aime26", "amc23", "hmmt25", "math500", "gsm8k", "gsm8k_train"):
        assert len(load(name)) == SETS[name].size
    for path in REAL.glob("*.jsonl"):
        assert load(path.stem) == load(str(path))
    assert {problem.level for problem in load("math_train[level=1-3,subject=Number Theory]")} == {1, 2, 3}


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real problem sets beside the checkout")
def test_boxes_of_real_solutions_are_the_answers() -> None:
    rows = [json.loads(line) for line in (REAL / "math_test_minus_math500.jsonl").open(encoding="utf-8")]
    assert [boxed("solution")(row) for row in rows] == [row["answer"].strip() for row in rows]
