"""Coverage-guided fuzzing by hand: `python -m tests.hostile.fuzz TARGET -max_total_time=60`.

It needs `pip install atheris`. Targets take bytes as whoever is hostile sends them, and fail when anything
but their own refusal comes out. What libFuzzer finds it writes into a file, which given as argument is tried
again.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["serve", "evals", "clients"]):
    from clients import APIError
    from clients.errors import parse_error
    from evals.grading import GradingOptions, compare, final_answer
    from evals.jsonl import decode
    from evals.store import SAMPLES, read_records
    from serve.budget import RequestError
    from serve.dialects import normalise_request

NO_ALGEBRA = GradingOptions(symbolic=False)
ROUTES = ("chat", "completions", "responses", "messages", "tokens")
FOLDER = Path(TemporaryDirectory().name)


def request(data: bytes) -> None:
    """A body in any dialect is folded or refused by name."""
    with suppress(ValueError, RequestError):
        body = decode(data[1:], "body")
        if isinstance(body, dict):
            normalise_request(body, ROUTES[data[0] % len(ROUTES)])


def store(data: bytes) -> None:
    """A store is read or refused with its line."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / SAMPLES).write_bytes(data + b"\n")
    with suppress(ValueError):
        read_records(FOLDER)


def answer(data: bytes) -> None:
    """An answer is found or not, and equals itself."""
    text = data.decode("utf-8", "surrogateescape")
    found = final_answer(text)
    if found is not None:
        compare(found, found, NO_ALGEBRA)


def error(data: bytes) -> None:
    """Whatever a server answers with is an error with a text."""
    assert isinstance(parse_error(500, data), APIError)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (request, store, answer, error)
}

if __name__ == "__main__":
    name = sys.argv.pop(1)
    target = TARGETS[name]
    atheris.Setup(sys.argv, lambda data: target(data) if data else None)
    atheris.Fuzz()
