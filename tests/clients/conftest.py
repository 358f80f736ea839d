"""Fixtures of the client tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from scripted_server import ScriptedServer, Step


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Start scripted servers: scripted([step, ...], [step, ...], port=0)."""
    servers: list[ScriptedServer] = []

    def start(*scripts: Sequence[Step], port: int = 0) -> ScriptedServer:
        servers.append(ScriptedServer(scripts, port))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
