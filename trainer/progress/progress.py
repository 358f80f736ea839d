"""A stage's progress: what it logs goes to a file, to trackers, and as a line a while to the terminal."""

import secrets
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from accelerate import PartialState

from trainer.context import StageContext
from trainer.progress.plots import plot_metrics
from trainer.progress.records import Records, read_records
from trainer.progress.trackers import RunName, check_trackers, open_trackers, send

LINE_EVERY = 2.0
"""Seconds between lines on the terminal."""
WINDOW = 50
"""Records over which speed is measured: replies grow and shrink during RL, so the whole run would mislead."""
SHOWN = ("loss", "reward/total")


class Progress:
    """Logs one stage. Under accelerate every process makes one, after its Accelerator; the first one writes.

    Use it in a `with`, so that plots are drawn also after an interrupt. Log a step before its checkpoint is
    saved: a resumed run then finds every record up to the checkpoint.
    """

    def __init__(self, context: StageContext, total_steps: int, resume_step: int = 0) -> None:
        """Continue the stage's files after `resume_step`; what was written after it is dropped.

        Raises:
            ValueError: a tracker of the recipe is not installed.
        """
        self._writes = PartialState().is_main_process
        if not self._writes:
            return
        logging = context.recipe.logging
        self._name, self._folder, self._total = context.stage.name, context.folder, total_steps
        self._shown_traces = logging.traces
        check_trackers(logging.trackers)
        # A stage begun anew measures its start again, as step 0.
        last_kept = resume_step or -1
        self._metrics = Records(context.folder / "metrics.jsonl", last_kept)
        self._traces = Records(context.folder / "traces.jsonl", last_kept)
        kept = read_records(self._metrics.path)
        run = RunName(
            project=logging.project,
            name=f"{context.run.name}-{context.stage.name}-{_run_id(context.folder / 'run_id')}",
            folder=context.folder,
            config=context.stage.model_dump(mode="json"),
        )
        self._trackers = open_trackers(logging, run, kept)
        self._tokens = kept[-1]["tokens"] if kept else 0
        self._marks = deque([(time.monotonic(), resume_step, self._tokens)], maxlen=WINDOW)
        self._last_line = 0.0
        if resume_step:
            self._print(f"resuming after step {resume_step} of {total_steps}")

    def log(self, step: int, metrics: Mapping[str, float], tokens: int = 0) -> None:
        """Write one record. step: optimizer steps done. tokens: processed since the last call.

        The record has `step`, `tokens` (in total), `tokens_per_second` and the metrics. A step may have
        several records.
        """
        if not self._writes:
            return
        self._tokens += tokens
        now = time.monotonic()
        before, before_step, before_tokens = self._marks[0]
        self._marks.append((now, step, self._tokens))
        rate = (self._tokens - before_tokens) / (now - before)
        measured = {name: float(value) for name, value in metrics.items()}
        if tokens:
            measured["tokens_per_second"] = rate
        record = {"step": step, "tokens": self._tokens, **measured}
        self._metrics.append(record)
        for tracker in self._trackers:
            send(tracker, record)
        evaluated = any(name.startswith("eval/") for name in metrics)
        if evaluated or step >= self._total or now - self._last_line >= LINE_EVERY:
            self._last_line = now
            shown = [f"{n} {v:.4g}" for n, v in metrics.items() if n in SHOWN or n.startswith("eval/")]
            if step > before_step:
                left = (self._total - step) * (now - before) / (step - before_step)
                shown.append(f"{rate:,.0f} tokens/s, {_duration(left)} left")
            self._print(f"step {step}/{self._total}: {', '.join(shown)}")

    def traces(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Write the first `logging.traces` of `samples` (made by `trace_of`)."""
        if self._writes:
            for sample in samples[: self._shown_traces]:
                self._traces.append({"step": step, **sample})

    def close(self) -> None:
        """Draw `metrics.png` and end the trackers."""
        if not self._writes:
            return
        self._metrics.close()
        self._traces.close()
        for tracker in self._trackers:
            tracker.close()
        plot_metrics(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _print(self, text: str) -> None:
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """12 s, 3 min, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _run_id(path: Path) -> str:
    """What tells this run from others of its name, kept in a file so that a resumed run has the same."""
    if not path.exists():
        path.write_text(secrets.token_hex(4), encoding="utf-8")
    return path.read_text(encoding="utf-8")
