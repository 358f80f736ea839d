"""What another harness said of each reply of a run: `scores.json` beside the replies.

Replies are what was drawn; a score is what somebody says of one, so it is kept apart and can be made again.
1 is full credit, 0 none; a reply that was not scored is absent.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from evals.jsonl import decode_object

SCORES = "scores.json"


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of replies.

    source: who scored, with version where known. metrics: what the score of a problem set is, by its name.
    values: the score of each reply in [0, 1], by the key of its record.
    """

    source: str
    metrics: dict[str, str]
    values: dict[str, float]

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """The scores of a run directory, None where it has none. ValueError for a file that has none."""
        path = directory / SCORES
        if not path.is_file():
            return None
        stored = decode_object(path.read_bytes(), str(path))
        values = stored.get("values")
        if set(stored) != {"source", "metrics", "values"} or not isinstance(values, dict):
            raise ValueError(f"{path}: not the scores of a run; expected source, metrics and values")
        for key, value in values.items():
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ValueError(f"{path}: the score of reply {key} is {value!r:.80}, not from 0 to 1")
        return cls(**stored)

    def write(self, directory: Path) -> None:
        """Write them into a run directory, whole or not at all. ValueError for a score outside [0, 1]."""
        for key, value in self.values.items():
            if not 0 <= value <= 1:
                raise ValueError(f"score: {value} of reply {key} is not between 0 and 1")
        content = {"source": self.source, "metrics": self.metrics, "values": self.values}
        temporary = directory / f"{SCORES}.tmp"
        temporary.write_text(json.dumps(content, separators=(",", ":")) + "\n", "utf-8")
        temporary.replace(directory / SCORES)
