# SPDX-License-Identifier: GPL-3.0-or-later
# `make help` lists what there is. Every target but help and clean makes sure of
# the ground first (`setup`), which takes no time when it is there.
SHELL := bash
.DEFAULT_GOAL := help

# our tools first, and everything that writes caches writes them where `make
# clean` looks
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.cache/hypothesis
export PYTHONDONTWRITEBYTECODE := 1
export PYTHONUNBUFFERED := 1

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
# further arguments: make unit ARGS="-k drain -x"
ARGS ?=

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: setup
setup: ## tools, engine, virtual environment, base images
	@scripts/setup.sh

.PHONY: lint
lint: setup ## ruff, mypy, ansible-lint, shellcheck
	@scripts/lint.sh

.PHONY: format
format: setup ## let ruff write the layout that lint asks for
	@ruff check --fix-only --quiet . && ruff format .

.PHONY: sanity
sanity: setup ## ansible-test sanity and antsibull-docs
	@scripts/sanity.sh

.PHONY: unit
unit: setup ## unit tests
	@$(PYTEST) tests/unit $(ARGS)

.PHONY: property
property: setup ## simulated histories with crashes and failures
	@$(PYTEST) tests/property $(ARGS)

.PHONY: bed
bed: setup ## real stacks on this machine's engine
	@$(PYTEST) tests/bed $(ARGS)

.PHONY: molecule
molecule: setup ## the roles on whole servers
	@$(PYTEST) tests/molecule $(ARGS)

# One run of pytest, so that one summary at the end counts everything. The
# stages come fast first (linters and sanity run beside the units), and tests/conftest.py stops after the first stage that
# failed: a broken unit does not cost twenty minutes of beds. What is marked
# `matrix` is deselected here, counted as such, and run by `make evidence`.
.PHONY: test
test: setup ## everything: lint sanity unit property bed molecule
	@$(PYTEST) -m "not matrix" tests/unit tests/property tests/ground tests/bed tests/molecule $(ARGS)

.PHONY: demo
demo: setup ## a shop goes from v1 to v2 under load, then a bad version
	@$(PYTHON) demo/run.py $(ARGS)

.PHONY: bench
bench: setup ## ours against the usual ways
	@$(PYTHON) tests/bed/bench.py $(ARGS)

.PHONY: evidence
evidence: setup ## measure what docs/evidence.md claims
	@$(PYTHON) tests/bed/evidence.py $(ARGS)

.PHONY: clean
clean: ## remove everything that this made, but no package
	@scripts/clean.sh
