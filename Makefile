# Every target sets up what it needs on a machine that has Python >= 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
CONSTRAINTS := $(wildcard constraints/py$(VERSION).txt)
READY := $(VENV)/.ready
DEV := $(VENV)/.ready-dev
TPU := .venv-tpu
COVERAGE := 80
RELEASE := build/release
VERSIONS := build/versions

.DEFAULT_GOAL := help
.PHONY: help install dev quickstart test coverage faults soak page docs notebooks lint bench gallery tpu
.PHONY: transforms fidelity release-check versions clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 15

install: $(READY)  ## create .venv and install the package into it

dev: $(DEV)  ## the same with what tests, lint and pre-commit need

quickstart: $(READY)  ## train and score the embedded default, in a few minutes, on any machine
	$(BIN)/python train.py --config configs/quickstart.py --workdir runs/quickstart
	$(BIN)/python eval.py --workdir runs/quickstart

# Tests of one file run in one process, which computes once what they share; short files are last.
test: $(DEV)  ## run all tests
	SEGALIAS_DEV=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

coverage: $(DEV)  ## run all tests and say which lines none runs; fails below the floor
	rm -rf build/coverage
	SEGALIAS_DEV=1 $(BIN)/python -m coverage run -m pytest -n auto --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --skip-covered --fail-under=$(COVERAGE)

faults: $(DEV)  ## kill and interrupt small runs; start them with several processes
	SEGALIAS_SOAK=1 $(BIN)/python -m pytest -n 0 tests/faults tests/training/test_processes.py

soak: faults  ## the same hundreds of times; writes four results and docs/faults.md
	$(BIN)/python tests/faults/soak.py 200
	$(BIN)/python tests/faults/soak.py 20 --objects
	$(BIN)/python tests/faults/operations.py 200 200
	$(BIN)/python tests/faults/commands.py 20 20
	$(BIN)/python tests/faults/damage.py 2000
	$(BIN)/python tests/faults/table.py

page: $(DEV)  ## look at reports in headless Chromium (apt-get install chromium)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[page]'
	$(BIN)/python -m pytest -n 0 -rs tests/scoring/reports/test_page_in_browser.py tests/scoring/instances/test_instance_page.py

docs: $(READY)  ## build the documentation into build/site, which works without a server
	$(BIN)/python -m pip install -q --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q --strict
	@echo build/site/index.html

notebooks: $(READY)  ## run all notebooks in their reduced form
	$(BIN)/python -m pip install -q --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[notebooks]'
	$(BIN)/python notebooks/run.py

transforms: $(DEV)  ## compute what works under which transform of jax; writes docs/transforms.md
	$(BIN)/python tests/transforms.py

fidelity: $(DEV)  ## compare with the published method, statement by statement; writes docs/fidelity.md
	$(BIN)/python tests/fidelity.py

lint: $(DEV)  ## check style and types
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(DEV)  ## measure operators, networks and scores on this machine, beside peers
	$(BIN)/python -m pip install -q --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[torch,fast]'
	$(BIN)/python benchmarks/ops.py
	$(BIN)/python benchmarks/network.py
	$(BIN)/python benchmarks/tracing.py
	$(BIN)/python benchmarks/scores.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/inference.py

gallery: $(READY)  ## draw the figures of docs/gallery.md, write its tables and sounds (runs/gallery)
	for name in boundary_errors median_and_blur loss_curves spectrogram radar_fields radar_unet; do \
	  $(BIN)/python examples/gallery/$$name.py --out runs/gallery --page docs/gallery.md || exit; \
	done
	cp runs/gallery/*.png docs/pictures/gallery/

tpu: $(TPU)/.ready  ## compile for TPUs that are not here; writes tables of docs/scaling.md (hours, resumes)
	$(TPU)/bin/python -m pytest -rs tests/test_compile_for.py
	$(TPU)/bin/python benchmarks/compile_for.py

# What depends most on the libraries below; any warning is an error, deprecations among them.
versions:  ## a part of the tests with CONSTRAINTS=constraints/lowest.txt or PYTHON=python3.13
	rm -rf $(VERSIONS)
	$(PYTHON) -m venv $(VERSIONS)
	$(VERSIONS)/bin/pip install -q --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e . \
	  beartype pytest pytest-xdist scipy
	$(VERSIONS)/bin/python -m pytest -n 0 tests/ops/test_fourier.py tests/ops/test_conv.py tests/layers \
	  tests/scoring/test_folders.py tests/test_lazy.py tests/training/test_fit.py

release-check:  ## build both distributions, check and install them elsewhere, and score with them
	rm -rf $(RELEASE)
	$(PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/pip install -q --disable-pip-version-check build twine
	$(RELEASE)/tools/bin/python -m build -q -o $(RELEASE)/dist .
	$(RELEASE)/tools/bin/python -m build -q -w -o $(RELEASE)/dist packaging/score
	$(RELEASE)/tools/bin/twine check --strict $(RELEASE)/dist/*
	for wheel in $(RELEASE)/dist/*.whl; do \
	  $(PYTHON) packaging/try_wheel.py $$wheel $(RELEASE) || exit 1; \
	done

clean:  ## remove what the targets made, but no run
	rm -rf $(VENV) $(TPU) build dist *.egg-info .pytest_cache .ruff_cache

# The installed versions are the tested ones where a constraint file for this Python exists.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; call make PYTHON=python3.12, say"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(READY): $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e .
	touch $@

$(DEV): $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[dev]'
	touch $@

# libtpu is 200 MB, and whatever imports jax beside it looks for a TPU.
$(TPU)/.ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(TPU)
	$(TPU)/bin/python -m pip install -q --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[tpu]' beartype pytest
	touch $@
