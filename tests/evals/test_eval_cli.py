"""`thinkdial eval` without a server: wrong usage, reports, and a quick --help."""

import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import no_think, trace, write

from evals.cli import main


def sweep(*options: str) -> list[str]:
    return [
        "sweep",
        "--problems",
        "thinkmath",
        "--out",
        "unused",
        "--base-url",
        "http://127.0.0.1:9",
        *options,
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budgets", "0,x"], "'x' is not a budget; give whole numbers"),
        (["--budgets", "-1"], "'-1' is not a budget"),
        (["--budgets", "1", "--mode", "fast"], "invalid choice: 'fast'"),
        ([], "the following arguments are required: --budgets"),
    ],
)
def test_wrong_usage(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(sweep(*options))
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "2", "--sampling", "greedy"], "samples: 2 at temperature 0"),
        (["--samples", "2", "--temperature", "0"], "samples: 2 at temperature 0"),
        (["--sampling", "warm"], "sampling: 'warm' is no preset; give one of qwen3, greedy"),
        (["--crosscheck", "2"], "crosscheck: 2.0 is no share"),
        (["--crosscheck", "0.1", "--mode", "direct"], "crosscheck: 0.1 of a direct run"),
        (["--logprobs", "all"], "logprobs: 'all' is not a number of alternatives"),
        (["--logprobs", "21"], "logprobs: 21 is not in 0 to 20"),
        (["--retries", "-1"], "retries: -1 is negative"),
        (["--price-in", "-1"], "price: -1.0 is no price"),
        (["--api-key-env", "NOT_SET_ANYWHERE"], "api_key_env: 'NOT_SET_ANYWHERE' is not set"),
        (["--samples", "0"], "samples: 0 is too few"),
        (["--concurrency", "0"], "concurrency: 0 is too few"),
        (["--max-tokens", "0"], "max_tokens: 0 is too few"),
        (["--temperature", "-1"], "temperature: -1.0 is not a temperature"),
        (["--temperature", "nan"], "temperature: nan is not a temperature"),
        (["--top-p", "0"], "top_p: 0.0 is not in (0, 1]"),
        (["--top-k", "-2"], "top_k: -2 is negative"),
        (["--limit", "0"], "limit is 0"),
    ],
)
def test_wrong_values(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(sweep("--budgets", "1", *options)) == 2
    assert message in capsys.readouterr().err


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, [trace("a", 3), no_think("a")])
    assert main(["report", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    for name in ("summary.json", "curve.png", "report.html"):
        assert str(tmp_path / name) in output
        assert (tmp_path / name).stat().st_size
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_help_imports_little() -> None:
    code = (
        "import sys\nfrom evals.cli import main\n"
        "try: main(['sweep', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'vllm', 'matplotlib', 'numpy', 'httpx') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--budgets" in result.stdout
    assert result.stdout.strip().endswith("[]")
