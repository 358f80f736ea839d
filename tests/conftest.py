"""What every room's tests share: one server on the default model for the whole session."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from serve.launch import RunningServer, start_server
from tests.browsing import chromium

# TRL's import, when tests are collected, asks vLLM for errors only, in the environment that servers inherit.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO")


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
