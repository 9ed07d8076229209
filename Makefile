# What a developer and the build run. Everything works as root or not; the only tool that is
# needed is Python 3.11 to 3.13 with venv, found as python3.11 or python3 (or PYTHON=…).

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install demo test check bench lock image chart clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
INSTALLED := .venv/installed
SUITES := tests/unit tests/integration tests/system

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

install: $(INSTALLED) ## .venv with everything, Kafka's jars in the user's cache; again at once
	@$(BIN)/python -m consumer.sandbox.jars

$(INSTALLED): pyproject.toml deploy/requirements-dev.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "install: virtual environment .venv"
	@"$(PYTHON)" -m venv --clear .venv
	@echo "install: locked packages (about a minute the first time)"
	@$(PIP) install --require-hashes --no-deps --requirement deploy/requirements-dev.txt
	@echo "install: passback itself"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## a whole district's day on this machine
	@$(BIN)/passback demo

test: install ## all tests, on a real Kafka and a real Postgres; ARGS="-k word" for some
	@$(BIN)/python -m pytest $(if $(CI),,--quiet) $(SUITES) $(ARGS)

check: $(INSTALLED) ## format, lint, types, layers, locks
	@echo "check: format" && $(BIN)/ruff format --quiet --check . || \
	  { echo "format: run .venv/bin/ruff format ." >&2; exit 1; }
	@echo "check: lint" && $(BIN)/ruff check --quiet .
	@echo "check: types" && $(BIN)/mypy --no-error-summary
	@echo "check: layers" && $(BIN)/lint-imports > .venv/layers || { cat .venv/layers; exit 1; }
	@echo "check: locks" && $(BIN)/python -m pytest --quiet --quiet tests/unit/test_locks.py

bench: install ## what bench.json names, as ratios against ceilings of the same run
	@$(BIN)/python -m tests.bench

UV := .lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
  --custom-compile-command "make lock" $(UPGRADE)

lock: ## writes the locks anew; UPGRADE=--upgrade takes newer versions
	@"$(PYTHON)" -m venv .lock && .lock/bin/python -m pip --quiet install 'uv>=0.5'
	@$(UV) --output-file deploy/requirements.txt
	@$(UV) --extra sandbox --extra dev --constraint deploy/requirements.txt \
	  --output-file deploy/requirements-dev.txt
	@rm -rf .lock

image: ## the container image skyward-passback
	docker build --file deploy/Dockerfile --tag skyward-passback .

clean: ## removes what these targets made here
	rm -rf .venv .lock build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache bench.json
	find consumer tests -name __pycache__ -prune -exec rm -rf {} +
