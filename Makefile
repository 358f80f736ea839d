# make demo: install, serve the default model, turn the dial, draw the curve.  make test: lint and every test.
# make reproduce: a model from nothing, measured, profiled, served and loaded; all numbers on one page.
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

.PHONY: setup demo reproduce test lint chromium bench-serve bench-evals bench-train clean

setup: $(STAMP)

$(STAMP): pyproject.toml cpu-overrides.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
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

# Tests look at report pages in Debian's chromium.
chromium:
	@if [ ! -x /usr/bin/chromium ]; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update && apt-get install --yes --no-install-recommends chromium fonts-dejavu-core; \
	  else echo "the tests need /usr/bin/chromium: sudo apt-get install chromium fonts-dejavu-core" >&2; exit 1; fi; fi

test: lint chromium
	$(VENV)/bin/python -m pytest

bench-serve: setup
	$(VENV)/bin/python -m serve.bench.throughput --out runs/bench
	$(VENV)/bin/python -m serve.bench.deadline --out runs/bench

bench-evals: setup
	$(VENV)/bin/python -m evals.bench.curve_cost --out runs/bench

bench-train: setup
	$(VENV)/bin/python -m trainer.bench.step_time --out runs/bench
	$(VENV)/bin/python -m trainer.bench.step_time --levels 5 --out runs/bench

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
