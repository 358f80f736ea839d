"""What has come lately, and how much a second: HTTP requests, and the replies they begin. Pure."""

import math
from collections import Counter, deque
from collections.abc import Hashable, Iterable


class Arrivals:
    """Requests of the last `window` seconds; `recent` is the part of it in which a rise is seen first."""

    def __init__(self, window: float, recent: float) -> None:
        self._window, self._recent = window, recent
        self._began: float | None = None
        self._came: deque[float] = deque()
        self._replies: deque[tuple[float, str | None, int | None]] = deque()
        self.coming: set[Hashable] = set()
        """Requests that have come and not been read yet."""

    def come(self, now: float, request: Hashable) -> None:
        """A request has come."""
        self._began = now if self._began is None else self._began
        self._came.append(now)
        self.coming.add(request)

    def begin(self, now: float, family: str | None, requested: int | None) -> None:
        """A reply begins, for which a budget was asked."""
        self._began = now if self._began is None else self._began
        self._replies.append((now, family, requested))

    def forget(self, now: float) -> None:
        """Drop what is older than the window."""
        while self._replies and self._replies[0][0] < now - self._window:
            self._replies.popleft()
        while self._came and self._came[0] < now - self._window:
            self._came.popleft()

    def __len__(self) -> int:
        return len(self._replies)

    def rate(self, now: float) -> float:
        """Replies asked a second: in the window, or in its last part where they clearly rise."""
        if self._began is None:
            return 0.0
        seconds = max(now - self._began, self._recent / 10)
        times = [time for time, _, _ in self._replies]
        times = max(times, list(self._came), key=len)  # a request may have several replies, or wait
        recent = sum(time > now - self._recent for time in times)
        return max(
            len(times) / min(self._window, seconds),
            (recent - 2 * math.sqrt(recent)) / min(self._recent, seconds),
        )

    def asked(self, families: Iterable[str | None]) -> dict[str | None, Counter[int | None]]:
        """How often each budget was asked, by family."""
        counts = {name: Counter[int | None]() for name in families}
        for _, name, requested in self._replies:
            counts[name][requested] += 1
        return counts
