# `make` alone says what there is.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run demo test check bench soak fuzz docs pictures lock clean

help: ## what each target does
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make run PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "The venv module is missing: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: $(STAMP) ## start the gateway on http://localhost:8080 (a private Redis in ./data unless REDIS_URL is set)
	@exec $(BIN)/python app/main.py

demo: $(STAMP) ## the gateway, a simulated OpenRouter, keys and a little traffic; no account, no internet
	@exec $(BIN)/python -m simulator.demo

test: $(STAMP) ## every test (a few minutes)
	@exec $(BIN)/python -m pytest tests -q -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP) ## ruff, mypy --strict, bandit, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy app/
	$(BIN)/bandit -q -r app/
	@$(BIN)/python -m tests.vulnerabilities

bench: $(STAMP) ## speed and cost against nginx in the same run; writes bench/results.md
	@exec $(BIN)/python -m bench $(ARGS)

docs: $(STAMP) ## the papers as a site, into build/docs
	@test -x build/site-builder/bin/mkdocs || { $(PYTHON) -m venv build/site-builder && build/site-builder/bin/python -m pip \
		install --quiet --disable-pip-version-check 'mkdocs-material>=9.7,<10' 'mkdocs<2'; }
	@$(BIN)/python -m app.core.setting_docs --page > docs/configuration.md
	@NO_MKDOCS_2_WARNING=1 build/site-builder/bin/mkdocs build --strict --quiet
	@echo "build/docs/index.html"

pictures: $(STAMP) ## the papers' pictures of the panel, into docs/images
	@PICTURES=keep $(BIN)/python -m pytest tests/test_panel/test_pictures.py -q

soak: $(STAMP) ## 1,000 open streams for 20 minutes while things break; writes docs/benchmarks.md
	@exec $(BIN)/python -m tests.soak --write $(ARGS)

fuzz: $(STAMP) ## every parser of bytes for a minute; with `pip install atheris` led by coverage (ARGS="sse --seconds 600")
	@exec $(BIN)/python -m tests.fuzz $(or $(ARGS),all)

lock: ## renew both lock files from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --quiet --extra dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --quiet pyproject.toml -o requirements-runtime.lock

clean: ## remove what was built, but never data
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage htmlcov tests/js/node_modules
