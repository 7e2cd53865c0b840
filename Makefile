# Only python3 (3.11 or newer) and make are required. The environment is .venv, created from
# uv.lock; uv is found on the PATH or installed into .venv.

.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
PORT ?= 8000
UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced

export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never
# Each process compiles every module anew where bytecode is not cached: it starts in 2 s, not in 1 s.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE
# Use the system's CA list if there is one, as pip and git do: it includes a company's proxy.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt),)
export UV_SYSTEM_CERTS ?= true
endif

.PHONY: help setup run test check format bench chaos overload rolling hostile live profile schema requirements sbom clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is required; choose one with: make PYTHON=python3.12 ..."; exit 1; }
	@if [ ! -x $(BIN)/python ]; then \
		echo "==> creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); fi
	@if command -v uv >/dev/null 2>&1; then uv=uv; else \
		uv=$(BIN)/uv; \
		if [ ! -x $$uv ]; then \
			echo "==> installing uv $(UV_VERSION) into $(VENV)"; \
			$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); fi; fi; \
	echo "==> installing the packages of uv.lock"; \
	$$uv sync --locked --inexact --quiet --python $(BIN)/python
	@touch $(STAMP)

setup: $(STAMP) ## Create .venv from the lock file

run: $(STAMP) ## Serve the demo on port 8000: gateway and mock upstreams, no network needed
	@echo "==> starting the demo (press Ctrl+C to stop)"
	@exec $(BIN)/gateway demo --port $(PORT)

test: $(STAMP) ## Run all tests on all cores, with a real Redis-protocol server; ARGS go to pytest
	@echo "==> running the tests"
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal --cov --cov-report=term $(ARGS)

check: $(STAMP) ## Lint, format and type checks
	@echo "==> ruff"; $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy"; $(BIN)/mypy
	@echo "==> gateway check"; $(BIN)/gateway check config/gateway.yaml

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

schema: $(STAMP) ## Write the schema of the configuration and docs/reference/ from the models
	@$(BIN)/gateway schema > config/gateway.schema.json
	@$(BIN)/gateway schema --format markdown > docs/reference/configuration.md
	@$(BIN)/gateway schema --format settings > docs/reference/settings.md

requirements: $(STAMP) ## Write image/requirements.txt, what builds the image, from the lock file
	@uv=$$(command -v uv || echo $(BIN)/uv); \
	$$uv export --quiet --locked --only-group image --no-header --no-annotate > image/requirements.txt

sbom: $(STAMP) ## Write dist/sbom.cdx.json, what the image contains of the lock file (CycloneDX)
	@mkdir -p dist; uv=$$(command -v uv || echo $(BIN)/uv); \
	$$uv export --quiet --locked --no-dev --format cyclonedx1.5 --preview-features sbom-export \
		> dist/sbom.cdx.json

bench: $(STAMP) ## Benchmark the gateway against its peers; writes docs/benchmark.md
	@$(BIN)/python bench/run.py $(ARGS)

chaos: $(STAMP) ## Check the guarantees of the shared cache: replicas, kills, faults, many keys (4 min)
	@$(BIN)/python bench/cache_chaos.py $(ARGS)

overload: $(STAMP) ## Measure goodput under overload: 6,000 clients, 10 times the capacity (2 min)
	@$(BIN)/python bench/overload.py $(ARGS)

rolling: $(STAMP) ## Check that 20 rolling restarts lose no request (5 min); ARGS="--workers 2"
	@$(BIN)/python bench/rolling_restart.py $(ARGS)

hostile: $(STAMP) ## Measure what others notice of 1,000 dripping and 200 deaf clients (3 min)
	@$(BIN)/python bench/hostile.py $(ARGS)

live: $(STAMP) ## Measure 10,000 live clients of 100 dashboards, a tenth of which never read (2 min)
	@$(BIN)/python bench/live.py $(ARGS)

profile: $(STAMP) ## Profile one dashboard under load
	@$(BIN)/python bench/profile.py $(ARGS)

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov dist bench/out
