"""What `make demo` runs: server, three budgets, curve."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_demo_asks_at_three_budgets_and_draws_the_curve(tmp_path: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "evals.demo", "--once"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert demo.returncode == 0, demo.stderr
    for cause in ("stopped by disabled: 0", "stopped by budget: 48", "stopped by natural"):
        assert cause in demo.stdout
    assert demo.stdout.count("\\boxed{") == 3
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    points = json.loads((run / "summary.json").read_text("utf-8"))["points"]
    assert [point["budget"] for point in points] == [0, 8, 16, 32, 48, 64, 96, "max"]
    assert all(point["n"] == 100 for point in points)
