"""Contamination: planted problems are found with their place, in every format, and others are not."""

import json
import random
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.cli import main
from evals.contamination import check, words_of
from evals.problems import Problem, load
from evals.training_texts import read_texts

WORDS = [f"{a}{b}" for a in "bcdfghjklmnp" for b in ("alo", "eri", "ino", "omu", "uva")]


def problem_of(text: str, number: int = 0, name: str = "held") -> Problem:
    return Problem(id=f"{name}/{number}", problem=text, answer="1", set=name)


def prose(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def jsonl(path: Path, rows: list[object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_share_is_that_of_distinct_ngrams_in_one_text(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = prose(rng, 40).split()
    texts = [" ".join(words[:20]), "x " + " ".join(words[20:]), " ".join([*words[:10], "x", *words[30:]])]
    train = jsonl(tmp_path / "train.jsonl", [{"text": text} for text in texts])
    result = check([problem_of(" ".join(words))], [train], n=8)
    grams = [{tuple(text.split()[i : i + 8]) for i in range(len(text.split()) - 7)} for text in texts]
    own = {tuple(words[i : i + 8]) for i in range(33)}
    (found,) = result["problems"]
    assert found["share"] == pytest.approx(max(len(own & each) for each in grams) / len(own), abs=1e-4)
    assert found["found"] == pytest.approx(len(own & set.union(*grams)) / len(own), abs=1e-4)
    assert (found["where"], found["longest"]) == (f"{train}:1 text", 20)
    assert found["match"] == " ".join(words[:20])


def test_copies_are_told_from_strangers(tmp_path: Path) -> None:
    rng = random.Random(1)
    held = [problem_of(prose(rng, 30), number) for number in range(6)]
    rows: list[object] = [{"messages": [{"role": "user", "content": prose(rng, 200)}]} for _ in range(50)]
    rows[7] = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": held[0].problem}]}
    rows[9] = {"prompt": f"Question: {held[1].problem}\nAnswer:", "completion": "1"}
    changed = held[2].problem.split()
    changed[15] = "otherwise"
    rows[11] = {"deep": {"er": [["x", " ".join(changed)]]}}
    train = jsonl(tmp_path / "train.jsonl", rows)
    result = check(held, [train])
    by_id = {problem["id"]: problem for problem in result["problems"]}
    assert by_id["held/0"]["exact"] == f"{train}:8 messages[1].content"
    assert (by_id["held/1"]["share"], by_id["held/1"]["exact"]) == (1.0, None)
    assert by_id["held/1"]["where"] == f"{train}:10 prompt"
    assert by_id["held/2"]["where"] == f"{train}:12 deep.er[0][1]"
    assert by_id["held/2"]["share"] == pytest.approx(15 / 23, abs=1e-4)
    assert set(by_id) == {"held/0", "held/1", "held/2"}
    (summary,) = result["sets"]
    counts = {key: summary[key] for key in ("problems", "any_overlap", "contaminated", "whole", "exact")}
    assert counts == {"problems": 6, "any_overlap": 3, "contaminated": 3, "whole": 2, "exact": 1}
    assert summary["mean_share"] == pytest.approx((2 + 15 / 23) / 6, abs=1e-4)
    assert result["train"][0]["rows"] == 50


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (r"Let $x \leq \dfrac{1}{2}$, so $3x\cdot 4$.", r"let x≤\frac 1 2 SO \left( 3 x × 4 \right)"),
        (r"A well-known\, fact:  $x^{2}-1$", "a WELL known fact x ^ 2 - 1"),
        (r"costs \$1,000", "Costs $1{,}000."),
        (r"\displaystyle\sum_{k = 1}^n \text{ if } k", r"\sum _ {k=1} ^ n if k"),
    ],
)
def test_spelling_does_not_matter(text: str, same: str) -> None:
    assert words_of(text) == words_of(same)


def test_numbers_and_signs_matter() -> None:
    assert words_of("compute 3+4") != words_of("compute 3-4") != words_of("compute 3-5")


@given(st.text())
def test_any_text_has_words(text: str) -> None:
    words = words_of(text)
    assert all(word and word == word.strip() for word in words)
    assert words_of(text.upper().lower()) == words_of(text.upper().lower().lower())


def test_short_problems_are_sought_whole(tmp_path: Path) -> None:
    held = [problem_of("Compute 1+2.", 0), problem_of("Compute 1-2.", 1)]
    train = jsonl(tmp_path / "train.jsonl", [{"text": "First, compute 1 + 2, then rest."}])
    result = check(held, [train])
    assert [(p["id"], p["share"]) for p in result["problems"]] == [("held/0", 1.0)]
    assert result["sets"][0]["short"] == 2


def test_plain_text_windows_lose_nothing(tmp_path: Path) -> None:
    rng = random.Random(2)
    held = [problem_of(prose(rng, 60), number) for number in range(40)]
    lines = [prose(rng, 12) for _ in range(20_000)]
    for number, problem in enumerate(held):
        words = problem.problem.split()
        at = 500 * number + 137
        lines[at : at + 3] = [" ".join(words[:20]), " ".join(words[20:40]), " ".join(words[40:])]
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    result = check(held, [str(path)])
    assert result["sets"][0]["whole"] == 40
    for problem in result["problems"]:
        line = int(problem["where"].rpartition(":")[2])
        planted = 500 * int(problem["id"].rpartition("/")[2]) + 138
        assert line <= planted < line + 1_000
    path.write_text(" ".join(lines), encoding="utf-8")
    assert check(held, [str(path)])["sets"][0]["whole"] == 40


def test_plain_text_windows_overlap_where_lines_are_long(tmp_path: Path) -> None:
    """A problem across the end of what is read of a long line at once, and across two long lines."""
    rng = random.Random(5)
    held = problem_of(prose(rng, 40))
    words = held.problem.split()
    first, second = " ".join(words[:20]), " ".join(words[20:])
    before = prose(rng, 1 << 18)[: (1 << 20) - len(first) - 1]
    path = tmp_path / "corpus.txt"
    for text in (
        f"{before} {first} {second} {prose(rng, 100)}",
        f"{prose(rng, 5_000)}\n{prose(rng, 5_000)} {first}\n{second} {prose(rng, 5_000)}",
    ):
        path.write_text(text, encoding="utf-8")
        assert check([held], [str(path)])["sets"][0]["whole"] == 1


def test_formats_and_sets_as_training_data(tmp_path: Path) -> None:
    held = load("thinkmath", limit=20)
    rows = [{"prompt": problem.problem, "messages": [{"content": "ok"}], "n": 1} for problem in held[:3]]
    table = tmp_path / "train.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), table)
    result = check(held, [str(table)])
    assert result["sets"][0]["exact"] == 3
    assert result["problems"][0]["exact"].startswith(f"{table}:")
    assert check(held, ["thinkmath"])["sets"][0]["exact"] == 20


def test_memory_does_not_grow_with_the_training_file(tmp_path: Path) -> None:
    rng = random.Random(3)
    held = [problem_of(prose(rng, 40), number) for number in range(100)]
    text = "".join(json.dumps({"text": prose(rng, 300)}) + "\n" for _ in range(100))
    peaks = []
    for copies in (1, 15):
        path = tmp_path / f"{copies}.jsonl"
        path.write_text(text * copies, encoding="utf-8")
        tracemalloc.start()
        check(held, [str(path)])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert path.stat().st_size > 1_500_000
    assert peaks[1] < peaks[0] + 200_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[]", "give JSONL: jq -c"),
        ("a.jsonl", b'{"text": "a"}\n{', r"a.jsonl:2: not JSON"),
        ("a.jsonl", b'{"ids": [1, 2]}\n', "holds no text"),
        ("a.txt", b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_unreadable_training_data_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        check([problem_of("a b")], [str(path)])


def test_missing_files_and_wrong_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a file"):
        list(read_texts(str(tmp_path / "none.jsonl")))
    with pytest.raises(ValueError, match="'nosuchset' is no set"):
        list(read_texts("nosuchset"))
    with pytest.raises(ValueError, match="n: 1 is too few"):
        check([problem_of("a b")], ["thinkmath"], n=1)
    with pytest.raises(ValueError, match="share: 0 is not in"):
        check([problem_of("a b")], ["thinkmath"], share=0)
    with pytest.raises(ValueError, match="held/0 has no words"):
        check([problem_of("...")], ["thinkmath"])


def test_command_prints_writes_and_tells_by_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(4)
    text = prose(rng, 30)
    held = jsonl(tmp_path / "held.jsonl", [{"id": 1, "problem": text, "answer": "1"}])
    clean = jsonl(tmp_path / "clean.jsonl", [{"text": prose(rng, 500)}])
    dirty = jsonl(tmp_path / "dirty.jsonl", [{"text": text}])
    out = tmp_path / "overlap.json"
    assert main(["contamination", "--train", clean, "--problems", held]) == 0
    assert main(["contamination", "--train", clean, dirty, "--problems", held, "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert f"held/1: exact at {dirty}:1 text" in printed
    assert json.loads(out.read_text())["sets"][0]["contaminated"] == 1
    assert main(["contamination", "--train", dirty, "--problems", held, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) | {"train": 0} == json.loads(out.read_text()) | {"train": 0}
    assert main(["contamination", "--train", str(tmp_path / "none"), "--problems", held]) == 2
    assert "thinkdial eval: train: " in capsys.readouterr().err
