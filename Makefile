# Two commands do everything: `make run` shows the main job, `make test` proves it.
# Each sets up what it needs, says what it does, and why when it cannot.

BIN := .venv/bin
ARGS ?=
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup test lint format run bench clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | \
	  while IFS='|' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

setup: ## make .venv with the mesh command (Python 3.11 or newer needed)
	@scripts/setup

test: setup ## set up, lint, then run every test (ARGS="-k name" goes to pytest)
	@scripts/system-packages scripts/debian-packages.txt
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest $(ARGS)

lint: setup ## formatting, style, types and import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## bring the code into shape
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

run: setup ## two nodes and one folder on this machine, live (ARGS=--once: show and end)
	$(BIN)/python -m aiplatform.mesh_ide.cli.demo --example examples/rocket $(ARGS)

bench: setup ## measure against rsync, unison, syncthing and lsyncd (ARGS=--help: choices)
	@scripts/system-packages scripts/debian-packages-bench.txt
	$(BIN)/python -m bench $(ARGS)

clean: ## remove the environment, caches and results
	rm -rf .venv dist bench/results .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
