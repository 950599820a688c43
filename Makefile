# SPDX-License-Identifier: MIT
# Everything here works in a fresh clone with Python 3.11 (or later), git and make.
#
#   make demo        run the main job on real input and say what happened
#   make test        the tests, with line coverage
#   make test-slow   the sweeps that `make test` leaves out
#   make power-loss  100,000 points at which the power goes
#   make fuzz        hostile input for every decoder, FUZZ_SECONDS=600 each
#   make lint        ruff and mypy
#   make bench       the benchmarks; rewrites benchmarks/RESULTS.md
#   make clean       remove what these commands made
#
# PYTHON=/path/to/python chooses the interpreter, VENV=folder the virtual environment, PYTEST_ARGS=… is passed on.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
BENCH := $(VENV)-bench
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-slow power-loss fuzz lint format bench install clean

demo: $(VENV)/.installed
	@$(BIN)/python -B examples/demo.py

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term $(PYTEST_ARGS)

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m slow --hypothesis-profile=thorough $(PYTEST_ARGS)

power-loss: $(VENV)/.installed-dev
	$(BIN)/python -m tests.power_loss --points 100000

# Guided by coverage where atheris can be had, at random elsewhere.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.installed-dev
	-@$(PIP) install atheris
	$(BIN)/python -B -m tests.fuzz all --seconds $(FUZZ_SECONDS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy --strict

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# An ordinary installation, as users have it: an editable one starts 10 ms slower.
bench: $(BENCH)/.installed
	@rm -rf build
	@$(BENCH)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --force-reinstall .
	$(BENCH)/bin/python -m benchmarks series --results benchmarks/RESULTS.md
	$(BENCH)/bin/python -m benchmarks store --results benchmarks/RESULTS.md
	$(BENCH)/bin/python -m benchmarks branches --results benchmarks/RESULTS.md
	$(BENCH)/bin/python -m benchmarks tree --results benchmarks/RESULTS.md
	$(BENCH)/bin/python -m benchmarks workspace --results benchmarks/RESULTS.md
	$(BENCH)/bin/python -m benchmarks tracking --results benchmarks/RESULTS.md
	$(BENCH)/bin/python -m benchmarks objects --results benchmarks/RESULTS.md
	$(BENCH)/bin/python -m benchmarks collection --results benchmarks/RESULTS.md
	$(BENCH)/bin/python -m benchmarks recovery --results benchmarks/RESULTS.md

install: $(VENV)/.installed

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "casstore needs Python 3.11 or later; set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing casstore into $(VENV) ..."
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing casstore and its test tools into $(VENV) ..."
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(BENCH)/.installed: pyproject.toml
	@echo "Installing casstore and what it is compared with into $(BENCH) ..."
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip --disable-pip-version-check --quiet install '.[peers,watch]'
	@touch $@

clean:
	rm -rf $(VENV) $(BENCH) build dist *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf benchmarks/.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
