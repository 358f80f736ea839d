"""`make bench`: every benchmark once for a commit, what they leave as one JSON, and the page of it."""

import importlib.util
import json
import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from serve.bench.results import Figure, Ratio, machine, write_result
from tests.browsing import violations
from trainer.benchmarks import __main__ as command
from trainer.benchmarks.page import headline, verdict, write_page
from trainer.benchmarks.plan import BENCHMARKS, Benchmark, select
from trainer.benchmarks.run import commit, gather, read_done, run_benchmarks

MADE = "tests.house.made_benchmark"
FAST, SLOW, BROKEN = (
    Benchmark("fast", 0.1, MADE, "fast --ratio 1.25"),
    Benchmark("slow", 0.1, MADE, "slow --ratio 0.5 --better lower"),
    Benchmark("broken", 0.1, MADE, "broken --status 3"),
)


def run(benchmarks: list[Benchmark], out: Path, commit: str = "abc", again: bool = False) -> list[str]:
    """What is told, line by line."""
    told: list[str] = []
    run_benchmarks(benchmarks, out, commit=commit, again=again, tell=told.append)
    return told


def times(out: Path) -> list[str]:
    """When each benchmark ran, as it noted it."""
    return [json.loads((out / b.name / f"{b.name}.json").read_text())["at"] for b in (FAST, SLOW)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench")
    told = run([FAST, BROKEN, SLOW], out)
    assert [line.partition(":")[0] for line in told if "about" not in line] == [
        "1/3 fast",
        "2/3 broken",
        "3/3 slow",
    ]
    assert "ended with status 3" in told[3]
    return out


def test_what_a_commit_has_measured_is_skipped(measured: Path) -> None:
    before = times(measured)
    told = run([FAST, SLOW], measured)
    assert all("measured before" in line for line in told)
    assert times(measured) == before
    # Another commit, files that differ from theirs, or --again: measured anew, and what lay there is gone.
    (measured / "fast" / "left_over").touch()
    for other, again in (("def", False), ("abc+changes", False), ("abc+changes", False), ("abc", True)):
        run([FAST], measured, other, again)
        (now, _), before = times(measured), before
        assert now != before[0]
        before = times(measured)
    assert not (measured / "fast" / "left_over").exists()
    assert times(measured)[1] == before[1]


def test_a_failed_benchmark_is_run_again(measured: Path) -> None:
    done = read_done(measured, BROKEN)
    assert done is not None
    assert (done["status"], done["commit"]) == (3, "abc")
    assert "nothing to measure" in (measured / "broken" / "log.txt").read_text()
    assert "about" in run([BROKEN], measured)[0]


def test_all_is_in_one_json(measured: Path) -> None:
    run([FAST], measured, again=True)
    found = json.loads((measured / "bench.json").read_text("utf-8"))["benchmarks"]
    assert set(found) == {"fast", "slow", "broken"}
    assert found["broken"]["result"] is None
    result = found["fast"]["result"]
    assert result["ratios"][0]["ratio"] == 1.25
    for told in (result["machine"], found["fast"]["machine"]):
        assert told["cores"] >= told["usable_cores"] >= 1
        assert len(told["load_average"]) == 3
        assert told["cpu"]
        assert 0 <= found["fast"]["busy"] <= 1
        assert told["versions"]["transformers"]


def test_the_page_shows_every_ratio_and_figure(measured: Path, browser: Browser) -> None:
    gathered = gather(measured)
    path = write_page(measured, gathered)
    text = unescape(re.sub(r"<[^>]+>", " ", path.read_text("utf-8")))
    assert headline(gathered["benchmarks"]) in text
    assert "2 ratios to peers, 2 better, 0 worse" in text
    assert "Not well ended: broken." in text
    for shown in (
        "1.250",
        "0.500",
        "<b>figure</b>",
        machine()["cpu"],
        "python -m tests.house.made_benchmark",
    ):
        assert shown in text
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    assert page.locator("section").count() == 2
    assert not errors
    assert violations(page) == []
    page.close()


@pytest.mark.parametrize(("busy", "said"), [(0.1, False), (0.9, True)])
def test_a_busy_machine_is_told(busy: float, said: bool) -> None:
    ran = {"status": 0, "result": None, "busy": busy}
    assert ("The machine was busy before: made." in headline({"made": ran})) == said


@pytest.mark.parametrize(
    ("low", "high", "better", "expected"),
    [
        (1.1, 1.2, "higher", "better"),
        (1.1, 1.2, "lower", "worse"),
        (0.8, 0.9, "lower", "better"),
        (0.8, 0.9, "higher", "worse"),
        (0.9, 1.1, "higher", "no difference seen"),
        (None, None, "higher", "worse"),
    ],
)
def test_what_a_ratio_says(low: float | None, high: float | None, better: str, expected: str) -> None:
    assert verdict({"ratio": 0.7, "low": low, "high": high, "better": better}) == expected


def test_rooms_and_benchmarks_are_selected() -> None:
    assert select([]) == list(BENCHMARKS)
    assert {b.room for b in select(["serve", "step_time"])} == {"serve", "trainer"}
    assert [b.name for b in select(["entropy", "deadline"])] == ["deadline", "entropy"]
    with pytest.raises(ValueError, match=r"only: 'speed' is wrong .* give some of .*throughput"):
        select(["speed"])


def test_every_benchmark_writes_its_result() -> None:
    """Each module of the plan exists, takes --out, and leaves what the page reads."""
    assert len({b.name for b in BENCHMARKS}) == len(BENCHMARKS)
    for benchmark in BENCHMARKS:
        spec = importlib.util.find_spec(benchmark.module)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).read_text("utf-8")
        assert f'"{benchmark.name.removesuffix("_level5")}"' in source
        assert "write_result(" in source
        assert '"--out"' in source


def test_the_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--plan", "--only", "entropy", "--out", "here"]) == 0
    assert capsys.readouterr().out.startswith("python -m serve.bench.entropy --out here/entropy ")
    assert command.main(["--plan", "--quick", "--only", "soak"]) == 0
    assert "serve.bench.soak --requests 500 --out runs/bench/soak " in capsys.readouterr().out
    assert command.main(["--only", "nothing"]) == 2
    assert "only: 'nothing'" in capsys.readouterr().err


def test_the_commit_has_a_name() -> None:
    assert re.fullmatch(r"[0-9a-f]{12,}(\+changes)?", commit())


def test_a_result_is_the_details_and_what_all_tell(tmp_path: Path) -> None:
    ratio = Ratio("speed", "us", "them", 1.0, 0.9, 1.1, "range", "higher")
    path = write_result(tmp_path / "new", "made", {"rows": [1]}, ratios=[ratio], figures=[Figure("a", "1 s")])
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert list(found) == ["benchmark", "ratios", "figures", "machine", "rows"]
    assert found["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
