"""Rows of published problem sets, through `datasets`: from the hub, its cache, or a downloaded copy."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evals.problems.catalogue import HubSet
from evals.problems.problem import Problem

PROBE_SECONDS = 5.0


def load_hub(name: str, entry: HubSet, copy: Path | None = None) -> list[Problem]:
    """The problems of a published set.

    copy: a folder that holds the files of its hub repository; None asks the hub, or its cache on this
    machine where the hub does not answer. Rows without a gold answer are left out with a warning.

    Raises:
        ValueError: neither the hub nor its cache has the set, or its columns are not those expected.
    """
    problems, unreadable = [], []
    for number, row in enumerate(_rows(name, entry, copy)):
        try:
            problems.append(_problem(name, entry, row, number))
        except KeyError as error:
            raise ValueError(
                f"problems: {name} ({copy or entry.hub}) has no column {error}; it has {', '.join(row)}"
            ) from error
        except ValueError as error:
            unreadable.append(f"row {number}: {error}")
    if not problems:
        raise ValueError(f"problems: no row of {name} ({copy or entry.hub}) has an answer; {unreadable[:1]}")
    if unreadable:
        warnings.warn(
            f"{name}: left out {len(unreadable)} rows without a gold answer ({'; '.join(unreadable[:3])})",
            stacklevel=2,
        )
    return problems


def download_command(name: str, entry: HubSet) -> str:
    """The shell command that copies a set into the data folder DIR, where `load` finds it."""
    revision = f" --revision {entry.revision}" if entry.revision else ""
    return f"hf download --repo-type dataset {entry.hub}{revision} --local-dir DIR/{name}"


def cached(entry: HubSet) -> bool:
    """Whether `datasets` has loaded the set on this machine before, so that it does without the hub."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    owner, _, repository = entry.hub.partition("/")
    return Path(config.HF_DATASETS_CACHE, f"{owner}___{camelcase_to_snakecase(repository)}").is_dir()


def _rows(name: str, entry: HubSet, copy: Path | None) -> Iterator[Mapping[str, Any]]:
    import datasets

    for config in entry.configs:
        if copy is not None:
            # Streamed, as the cache of `datasets` tells two folders of one name apart by that name only.
            yield from datasets.load_dataset(str(copy), config, split=entry.split, streaming=True)
            continue
        with no_waiting_when_offline():
            try:
                rows = datasets.load_dataset(entry.hub, config, split=entry.split, revision=entry.revision)
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"problems: {name} is not on this machine, and the hub did not give {entry.hub} "
                    f"({type(error).__name__}: {error}). Where the hub answers, run\n"
                    f"  {download_command(name, entry)}\n"
                    f"or put {name}.jsonl, one {{id, problem, answer}} object a line, into DIR; "
                    "then set THINKDIAL_DATA=DIR"
                ) from error
        yield from rows


@contextmanager
def no_waiting_when_offline() -> Iterator[None]:
    """Have `datasets` use its cache at once when the hub does not answer; it would retry for 30 s."""
    from datasets import config

    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or not _answers(config.HF_ENDPOINT)
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


def _answers(endpoint: str) -> bool:
    import httpx

    try:
        httpx.head(endpoint, timeout=PROBE_SECONDS)
    except httpx.TransportError:
        return False
    return True


def _problem(name: str, entry: HubSet, row: Mapping[str, Any], number: int) -> Problem:
    text = str(row[entry.problem]).strip()
    if entry.context is not None and row[entry.context]:
        text = f"{str(row[entry.context]).strip()}\n{text}"
    subject = None if entry.subject is None else row[entry.subject]
    return Problem(
        id=f"{name}/{number if entry.id is None else row[entry.id]}",
        problem=text,
        answer=entry.answer(row),
        level=None if entry.level is None else level_of(row[entry.level]),
        subject=", ".join(subject) if isinstance(subject, list) else subject,
        set=name,
    )


def level_of(value: int | float | str | None) -> int | str | None:
    """A level as a whole number where it is one ("Level 5", 5, 5.0), else as its text."""
    if value is None:
        return None
    text = str(value).lower().removeprefix("level").strip().removesuffix(".0")
    return int(text) if text.isdecimal() else str(value)
