# Two targets set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: demo test lint types tests tests-httpx exhaustive soak bench bench-quick guarantees clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.demo  ## watch handtruck do its main job against a local S3 server, on asyncio and on trio
	$(BIN)/handtruck demo

test: lint types tests  ## everything that must hold

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy
	PATH=$(CURDIR)/$(BIN):$$PATH pyright
	PATH=$(CURDIR)/$(BIN):$$PATH pyright --verifytypes handtruck --ignoreexternal

tests: $(VENV)/.dev
	$(BIN)/pytest -n $(JOBS) --cov --cov-report=term

tests-httpx: $(VENV)/.dev  ## the same promises where requests go through httpx's own transport
	$(BIN)/pytest -n $(JOBS) --through=httpx

exhaustive: $(VENV)/.dev  ## what the suite leaves out: more ways to be cancelled, every server on uvloop
	$(BIN)/pytest -n $(JOBS) -m exhaustive

soak: $(VENV)/.dev  ## the long runs: 1 GiB there and back, 10 GiB streamed, on every loop
	$(BIN)/pytest -m soak -s

bench:  ## side by side with peers: everything, five rounds; needs nginx, takes an hour
	$(PYTHON) -m benchmarks.run --report benchmarks/RESULTS.md --plots docs/plots

bench-quick:  ## a look at the same, under three minutes
	$(PYTHON) -m benchmarks.run --quick --report .bench/quick.md --plots .bench/plots

guarantees:  ## what clients leave behind when things go wrong, side by side; needs Ceph, takes half an hour
	$(PYTHON) -m benchmarks.guarantees --report docs/guarantees.md

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "handtruck needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.demo
