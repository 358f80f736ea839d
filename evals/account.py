"""The account of a run: tokens, wall time and cost, over all the sweeps that drew it.

Tokens are counted from the stored records, so they are those of the replies that are there. Wall time is not
in the records: `account.json` has a session for each sweep, rewritten while it runs, so that a kill costs
two seconds of it. Attempts that failed are not in the account; a server may bill them.
"""

import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.files import naming
from evals.jsonl import decode_object
from evals.records import Record

ACCOUNT = "account.json"
FORMAT = 1
_WRITE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Price of a million tokens of prompt and of reply."""

    input: float
    output: float
    currency: str = "USD"

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(
                    f"price: {getattr(self, name)} is no price of a million tokens; give 0 or more"
                )

    def cost(self, prompt_tokens: float, generated_tokens: float) -> dict[str, Any]:
        """{currency, total, input, output}: what so many tokens cost."""
        paid = {
            "input": prompt_tokens * self.input / 1e6,
            "output": generated_tokens * self.output / 1e6,
        }
        return {"currency": self.currency, "total": sum(paid.values()), **paid}


@dataclass(slots=True)
class Tally:
    """Replies, tokens and attempts, summed over records."""

    replies: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    generated_tokens: Counter[str] = field(default_factory=Counter)
    attempts: int = 0

    def add(self, record: Record) -> None:
        self.replies[record.kind] += 1
        self.prompt_tokens += record.prompt_tokens or 0
        self.generated_tokens[record.kind] += record.generated_tokens or 0
        self.attempts += record.attempts


def read_account(directory: Path) -> dict[str, Any]:
    """What is known of a run beside its records.

    {"wall_seconds": of all sweeps together, "retries": attempts beyond the first, "prices": as `Prices` or
    None, "sessions": [...]}; zero and empty where a run has no account. ValueError for a file that is none.
    """
    path = directory / ACCOUNT
    stored: dict[str, Any] = {"prices": None, "sessions": []}
    if path.is_file():
        stored = decode_object(path.read_bytes(), str(path))
    try:
        if stored["prices"] is not None:
            Prices(**stored["prices"])
        return {
            "wall_seconds": sum(session["wall_seconds"] for session in stored["sessions"]),
            "retries": sum(session["retries"] for session in stored["sessions"]),
            "prices": stored["prices"],
            "sessions": stored["sessions"],
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the account of a run ({error}); delete it to go without") from error


def totals(tally: Tally, account: dict[str, Any]) -> dict[str, Any]:
    """The account of a run: counts of its records, wall time, tokens a second, cost (None without prices)."""
    generated = tally.generated_tokens.total()
    seconds = account["wall_seconds"]
    prices = account["prices"]
    return {
        "replies": dict(sorted(tally.replies.items())),
        "prompt_tokens": tally.prompt_tokens,
        "generated_tokens": dict(sorted(tally.generated_tokens.items())),
        "all_generated_tokens": generated,
        "attempts": tally.attempts,
        "wall_seconds": seconds,
        "tokens_per_second": generated / seconds if seconds else None,
        "cost": None if prices is None else Prices(**prices).cost(tally.prompt_tokens, generated),
    }


class Session:
    """One sweep's part of `account.json`. Prices that are None leave those of earlier sweeps."""

    def __init__(self, directory: Path, prices: Prices | None) -> None:
        before = read_account(directory)
        self._path = directory / ACCOUNT
        self._earlier: list[dict[str, Any]] = before["sessions"]
        self._prices = asdict(prices) if prices else before["prices"]
        self._session: dict[str, Any] = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_seconds": 0.0,
            "replies": 0,
            "generated_tokens": 0,
            "retries": 0,
        }
        self._started = time.monotonic()
        self._written = float("-inf")

    def note(self, replies: int, generated_tokens: int, retries: int) -> None:
        """The sweep's counts until now. Written at most every two seconds, and by `write`."""
        self._session |= {"replies": replies, "generated_tokens": generated_tokens, "retries": retries}
        if time.monotonic() - self._written > _WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Put the session into the file. A sweep that drew nothing leaves no trace, its prices excepted."""
        self._written = time.monotonic()
        self._session["wall_seconds"] = round(self._written - self._started, 3)
        sessions = [*self._earlier, *([self._session] if self._session["replies"] else [])]
        content = {"format": FORMAT, "prices": self._prices, "sessions": sessions}
        temporary = self._path.with_name(f"{ACCOUNT}.tmp")
        with naming(temporary):
            temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        os.replace(temporary, self._path)
