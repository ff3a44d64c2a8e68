# make help says what there is. Everything is installed into .venv, nothing anywhere else.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=
VENV := .venv
NEWEST_VENV := .venv-newest
INSTALL := install --quiet --disable-pip-version-check --constraint constraints.txt

# The newest CPython to be had, on PATH or from pyenv; a pyenv shim may name a version that does not start.
NEWEST := $(shell for minor in 14 13 12; do \
	for python in python3.$$minor $(HOME)/.pyenv/versions/3.$$minor.*/bin/python3; do \
	"$$python" -c 'import venv' 2>/dev/null && echo "$$python" && exit; done; done)
# All that the tests of embevo/run need: everything but torch, what needs torch, and the checkers.
WITHOUT_TORCH := import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	extras = project['optional-dependencies']; \
	print(*(need for need in project['dependencies'] + extras['analysis'] + extras['animate'] + extras['dask'] + extras['dev'] \
	if not need.startswith(('embevo', 'torch', 'transformers', 'accelerate', 'lightning', 'mypy', 'ruff'))), sep='\n')

.PHONY: help run test faults lint bench newest test-newest clean

help:
	@echo "make run          install embevo into .venv, train the default experiment, record every step"
	@echo "                  (ARGS='--steps 200 --out runs/short' are options of embevo train)"
	@echo "make test         the tests (PYTEST_ARGS='-k journal' chooses among them)"
	@echo "make faults       every fault injected for real, about an hour on two cores; the counts go to docs/"
	@echo "make lint         ruff and mypy --strict"
	@echo "make bench        the benchmarks beside the alternatives; ARGS='--quick' for a look"
	@echo "make test-newest  the tests of embevo/run, without torch, on the newest Python here and the newest zarr"
	@echo "make clean        delete .venv, .venv-newest and what the tools have cached"

run: $(VENV)/installed
	@$(VENV)/bin/embevo train $(ARGS)

test: $(VENV)/installed-dev
	@$(VENV)/bin/python $(if $(PYTEST_ARGS),-m pytest $(PYTEST_ARGS),scripts/run_tests.py)

faults: $(VENV)/installed-dev
	@$(VENV)/bin/python tests/faults/full.py

lint: $(VENV)/installed-dev
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy

bench: $(VENV)/installed-bench
	@$(VENV)/bin/python -m benchmarks $(ARGS)

ifeq ($(NEWEST),)
newest:
test-newest:
	@echo "No Python 3.12 or newer on PATH or in ~/.pyenv/versions: test-newest has nothing to run on."
else
# What test-newest runs in.
newest: $(NEWEST_VENV)/installed

test-newest: newest
	@$(NEWEST_VENV)/bin/python -c "import sys, zarr; print(f'Python {sys.version.split()[0]}, zarr {zarr.__version__}')"
	@$(NEWEST_VENV)/bin/python $(if $(PYTEST_ARGS),-m pytest tests/run $(PYTEST_ARGS),scripts/run_tests.py run)
endif

clean:
	rm -rf $(VENV) $(NEWEST_VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis embevo.egg-info build

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "embevo needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		"Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# constraints.txt has pip choose the pinned torch from the start, rather than replace another one later.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing embevo into $(VENV) (torch is large: this takes a minute or more) ..."
	@$(VENV)/bin/python -m pip $(INSTALL) --editable '.[analysis]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing embevo and its development tools into $(VENV) (torch is large: this takes a minute or more) ..."
	@$(VENV)/bin/python -m pip $(INSTALL) --editable '.[dev]'
	@touch $(VENV)/installed $@

$(VENV)/installed-bench: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing embevo and what it is compared with into $(VENV) ..."
	@$(VENV)/bin/python -m pip $(INSTALL) --editable '.[bench]'
	@touch $@

$(NEWEST_VENV)/installed: pyproject.toml
	@echo "Installing embevo without torch into $(NEWEST_VENV), with $(NEWEST) ..."
	@test -x $(NEWEST_VENV)/bin/python || "$(NEWEST)" -m venv $(NEWEST_VENV)
	@$(NEWEST_VENV)/bin/python -c "$(WITHOUT_TORCH)" > $(NEWEST_VENV)/requirements.txt
	@$(NEWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
		--requirement $(NEWEST_VENV)/requirements.txt
	@$(NEWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
