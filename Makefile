# The tasks of this project. `make` alone lists them.
# The first Python here that will do. A distribution's own is built with optimisations; one that was built by hand
# often is not, and is slower (docs/measurements.md).
PYTHON ?= $(shell for each in /usr/bin/python3 python3; do $$each -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
RECORDS ?= 1000000
REPORT ?= build/bench.json
USE_CASES ?= tests/service
# As many test files side by side as there are processors; a file's tests stay together, and in the order of the folders.
WORKERS ?= auto
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Every start of a node would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-postgresql check leaks bench bench-million cost profile lock clean

help: ## List the tasks
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 15

$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: python3-venv); set PYTHON="; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@echo "Setting up $(VENV) (once; what is pinned is fetched, which may take a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP) ## Make the virtual environment

demo: $(STAMP) ## Two nodes sign an arrangement and exchange trusted traders, before your eyes
	@$(BIN)/aeo demo

test: $(STAMP) ## Run all tests
	@$(BIN)/python -m compileall -q node contracts clients tests  # once, not by each of their hundreds of processes
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-postgresql: $(STAMP) ## Run the tests of the use cases again, on PostgreSQL
	@AEO_TEST_STORE=postgresql $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(USE_CASES)

check: $(STAMP) ## Style, types, import directions, purity, docs
	@$(BIN)/ruff format --check node contracts clients tests
	@$(BIN)/ruff check node contracts clients tests
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest tests/architecture tests/docs

leaks: $(STAMP) ## Seed leaks one at a time and say how many are found: a table and build/leaks.json; about five minutes
	@$(BIN)/python -m tests.leaks.measure

bench: $(STAMP) ## Measure: a table, build/bench.json and build/bench.svg; under ten minutes
	@$(BIN)/aeo bench

bench-million: $(STAMP) ## Add the figures of a million records (RECORDS=20000 to try it)
	@$(BIN)/python -m clients.bench.million --records $(RECORDS)

cost: $(STAMP) ## Put what a record costs into docs/cost.md, out of build/bench.json
	@$(BIN)/python -m clients.bench.cost $(REPORT) docs/cost.md

profile: $(STAMP) ## Where the time goes: a table, and flame graphs in build/profile
	@$(BIN)/python -m clients.bench.profiling

lock: ## Pin the dependencies with hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml --extra dev -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml --extra pg -c requirements/dev.txt -o requirements/run.txt

clean: ## Remove what was built
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
