"""What every room's tests share: one server on the default model for the whole session."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from serve.launch import RunningServer, start_server
from tests.browsing import chromium

# TRL's import, when tests are collected, asks vLLM for errors only, in the environment that servers inherit.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO")


LONG = 8.0
"""Seconds that a test without the mark `slow` should not take, on a quiet machine."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that took long and are not marked: `make test-fast` runs them."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    long = [call for call in calls if call.duration > LONG and "slow" not in call.keywords]
    if long:
        terminalreporter.section(f"over {LONG:g} seconds and not marked slow")
        for call in sorted(long, key=lambda call: -call.duration):
            terminalreporter.line(f"{call.duration:.1f}s {call.nodeid}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """`thinkdial serve` on the shipped model, as a user starts it."""
    log_path = tmp_path_factory.mktemp("server") / "server.log"
    with start_server(log_path=log_path) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For modules without asynchronous tests: no other event loop runs while it is open."""
    with chromium() as opened:
        yield opened
