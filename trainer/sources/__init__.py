"""Examples from a stage's sources: made problems, files, problem sets, procedural tasks, the hub."""

from trainer.sources.open import open_sources
from trainer.sources.stream import ExampleSource, ExampleStream

__all__ = ["ExampleSource", "ExampleStream", "open_sources"]
