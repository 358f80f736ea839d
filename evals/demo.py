"""`make demo`: serve the shipped model, ask one question at three budgets, draw its curve, stay up."""

import argparse
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from clients import Client, Reply
from evals.budgets import Budget
from evals.problems import Problem, load
from evals.report.write import PAGE, PLOT, terminal, write_report
from evals.sweep.presets import GREEDY
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve.launch import RunningServer, start_server

PORT = 8000
BUDGETS_ASKED: tuple[int | None, ...] = (0, 48, None)
BUDGETS_SWEPT: tuple[Budget, ...] = (0, 8, 16, 32, 48, 64, 96, "max")
PROBLEMS_SWEPT = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evals.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the curve instead of staying up")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    print("starting the server on the shipped model ...", flush=True)
    try:
        with start_server(port=PORT if _is_free(PORT) else 0) as server:
            _ask(server, started)
            _sweep(server)
            if not options.once:
                _stay_up(server)
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


def _ask(server: RunningServer, started: float) -> None:
    problem = _question()
    console = Console()
    console.print(f"\n{problem.problem}\n[dim]right answer: {problem.answer}[/]\n")
    with Client(server.base_url) as client:
        stop_text = client.thinking_format().stop_text
        for asked, budget in enumerate(BUDGETS_ASKED):
            reply = client.chat(problem.problem, budget=budget, temperature=0)
            if asked == 0:
                console.print(f"[dim]first answer {time.monotonic() - started:.1f} s after the start[/]\n")
            _show(console, budget, reply, stop_text)


def _question() -> Problem:
    """A held-out problem long enough to be cut."""
    return next(p for p in load("thinkmath") if p.level == 5 and p.subject == "highest")


def _show(console: Console, budget: int | None, reply: Reply, stop_text: str) -> None:
    report = reply.report
    assert report is not None
    console.print(Text(f"budget: {'no limit' if budget is None else budget}", style="bold"))
    stop_sentence = stop_text.partition("</think>")[0].strip()
    thinking, cut, _ = reply.thinking.partition(stop_sentence)
    console.print(Text(thinking.strip() or "(no thinking)", style="dim"))
    if cut:
        console.print(Text(f"[cut] {cut}", style="yellow"))
    console.print(Text(reply.answer.strip()))
    console.print(
        f"[cyan]stopped by {report.stop_cause}: {report.tokens} thinking tokens, "
        f"{report.inserted_tokens} inserted[/]\n"
    )


def _sweep(server: RunningServer) -> None:
    out = Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    print(f"drawing the budget curve on {PROBLEMS_SWEPT} held-out problems ...", flush=True)
    settings = SweepSettings(
        problems="thinkmath", limit=PROBLEMS_SWEPT, budgets=BUDGETS_SWEPT, out=out, sampling=GREEDY
    )
    run_sweep(settings, server.base_url, server.model)
    print(terminal(write_report(out)))
    print(f"curve: {out / PLOT}\n       {out / PAGE}", flush=True)


def _stay_up(server: RunningServer) -> None:
    url = server.base_url
    print(
        f"""
The server stays up at {url}; Ctrl-C ends it. Talk to it:

  .venv/bin/thinkdial chat --base-url {url} --budget 64

  curl {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{{"model": "{server.model}",
    "messages": [{{"role": "user", "content": "Modulo 10, compute (3*7)+5."}}], "thinking_budget": 64}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none")
  client.chat.completions.create(model="{server.model}", extra_body={{"thinking_budget": 64}},
      messages=[{{"role": "user", "content": "Modulo 10, compute (3*7)+5."}}])
""",
        flush=True,
    )
    # Wakes up now and then so that a server that died is noticed.
    never = threading.Event()
    while not never.wait(1.0):
        if server.process.poll() is not None:
            raise RuntimeError(
                f"the server ended with exit code {server.process.returncode}: {server.log_path}"
            )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
