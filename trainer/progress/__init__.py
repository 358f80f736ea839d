"""How a stage shows where it is: metrics, trackers, sample replies, plots."""

from trainer.progress.progress import Progress
from trainer.progress.traces import trace_of
from trainer.progress.trackers import check_trackers

__all__ = ["Progress", "check_trackers", "trace_of"]
