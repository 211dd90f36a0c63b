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
SIDE_BY_SIDE := -n auto --dist loadgroup

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: setup
setup: ## tools, engine, virtual environment, base images
	@scripts/setup.sh

.PHONY: lint
lint: setup ## ruff, mypy, shellcheck, ansible-lint, antsibull-docs
	@scripts/lint.sh

.PHONY: format
format: setup ## let ruff write the layout that lint asks for
	@ruff check --fix-only --quiet . && ruff format .

.PHONY: sanity
sanity: setup ## ansible-test sanity, all of it
	@scripts/sanity.sh

.PHONY: unit
unit: setup ## unit tests and simulated histories
	@$(PYTEST) $(SIDE_BY_SIDE) tests/unit tests/property $(ARGS)

.PHONY: scenarios
scenarios: setup ## one shop on this machine's engine: the life that users bet on
	@$(PYTEST) tests/scenarios $(ARGS)

.PHONY: molecule
molecule: setup ## the roles on whole servers
	@$(PYTEST) tests/molecule $(ARGS)

# One run of pytest with a worker per core, so that one summary at the end counts
# everything. One worker has the shop of the scenarios, whose turn is first; the
# others have what only computes. What is left to the night is named at the end.
.PHONY: test
test: setup ## what every change has to pass, about 15 minutes
	@$(PYTEST) $(SIDE_BY_SIDE) --no-loadscope-reorder -m "not nightly" tests/scenarios tests/checks tests/unit \
		tests/stacks tests/property tests/molecule tests/database tests/bed $(ARGS)

# What does not fit comes in another night; ARGS="--hours 0" runs everything.
.PHONY: nightly
nightly: setup ## two hours of the beds that judge right or wrong, those whose turn it is
	@EVENKEEL_HISTORIES=10000 $(PYTEST) -p tests.bed.nightly --hours 2 $(SIDE_BY_SIDE) --no-loadscope-reorder \
		tests/bed tests/database tests/stacks tests/property tests/checks tests/molecule $(ARGS)

.PHONY: stacks
stacks: setup ## generated stacks on the real engine: ARGS="--seed N --count N"
	@PYTHONPATH=.:collections $(PYTHON) -m tests.stacks.generated $(ARGS)

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
