# Everything works as root or not; all that is needed is Python 3.11 to 3.13 with venv and pip.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install demo test check events reasons lock clean

# A name on the PATH may be a shim for what is not installed, so each is asked.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
    2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
INSTALLED := .venv/installed
LOCK := deploy/requirements.txt
LOCK_DEV := deploy/requirements-dev.txt

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

install: $(INSTALLED) ## .venv with everything, and Kafka's jars in the user's cache
	@$(BIN)/python -m consumer.sandbox.jars

$(INSTALLED): pyproject.toml $(LOCK_DEV)
	@test -n "$(PYTHON)" || { echo "install: no Python 3.11, 3.12 or 3.13 was found;" \
	  "name one: make install PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "install: virtual environment .venv"
	@"$(PYTHON)" -m venv .venv
	@echo "install: locked packages, about a minute"
	@$(PIP) install --require-hashes --no-deps --requirement $(LOCK_DEV)
	@echo "install: passback itself"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## a whole district's day on this machine
	@$(BIN)/passback demo

test: install ## all tests, on a real Kafka and a real Postgres; ARGS="-k word" for some
	@$(BIN)/python -m pytest tests/unit tests/integration tests/system $(ARGS)

check: $(INSTALLED) ## format, lint, types, layers, locks
	@echo "check: format" && $(BIN)/ruff format --quiet --check . || \
	  { echo "check: run .venv/bin/ruff format ." >&2; exit 1; }
	@echo "check: lint" && $(BIN)/ruff check --quiet .
	@echo "check: types" && $(BIN)/mypy --no-error-summary
	@echo "check: layers" && $(BIN)/lint-imports --no-logo > .venv/layers || \
	  { cat .venv/layers >&2; exit 1; }
	@echo "check: locks" && $(BIN)/python -m pytest --quiet --quiet tests/unit/test_locks.py

events: $(INSTALLED) ## writes deploy/events/ from the models that read events
	@$(BIN)/passback events schema deploy/events

reasons: $(INSTALLED) ## writes deploy/reasons.md from the rules' own tables
	@$(BIN)/passback reasons --markdown > deploy/reasons.md

COMPILE := build/lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header $(UPGRADE)

lock: ## writes the locks anew; UPGRADE=--upgrade takes newer versions
	@"$(PYTHON)" -m venv build/lock && build/lock/bin/python -m pip --quiet install 'uv>=0.5'
	@$(COMPILE) --output-file $(LOCK)
	@$(COMPILE) --extra sandbox --extra dev --constraint $(LOCK) --output-file $(LOCK_DEV)

clean: ## removes what these targets made here
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find consumer tests -name __pycache__ -prune -exec rm -rf {} +
