"""vLLM behind an OpenAI-compatible API with exact thinking budgets."""

from pathlib import Path

DEFAULT_MODEL = Path(__file__).parent / "default_model"
"""Folder of the model that is served when none is named."""

DEFAULT_MODEL_NAME = "thinkdial-default"
"""Name under which the shipped model is served."""
