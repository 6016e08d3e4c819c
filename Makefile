# `make` alone lists what there is.

VENV ?= .venv
BIN := $(VENV)/bin
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p $(IS_NEW_ENOUGH) && { echo $$p; break; }; done),python3)
VERSION_HERE = $$($(PYTHON) -c 'import sys; print(sys.version.split()[0])' 2>/dev/null || echo missing)
CHECK_PYTHON = @$(PYTHON) $(IS_NEW_ENOUGH) || { \
	echo "Relay needs Python 3.11 or newer, and $(PYTHON) here is $(VERSION_HERE):" \
	'on Debian 12 and newer, apt install python3 python3-venv; or name one: make PYTHON=/path/to/python3.11' \
	>&2; exit 1; }
PIP := $(BIN)/python -m pip --disable-pip-version-check
# An editable install: a change in the code needs no new setup.
INSTALL_SELF := $(PIP) install --quiet --no-deps --no-build-isolation --editable .
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make pins'
# More at once than there are cores: much of a test of processes and deadlines is waiting.
PYTEST_ARGS ?= -n 4 --dist worksteal
# Chance's tests go on for long: those of random steps, and of what no peer should send.
# Property tests try a tenth as often, and no PostgreSQL is started.
QUICK_ARGS ?= -n 3 -m "not slow and not postgres" -k "not machine and not hostile" --hypothesis-profile quick
FAULT_ARGS ?= -n 3 --dist worksteal
# Alone, for they say how quick something is.
FIGURES := tests/faults/postgres/test_figures.py
# What is compiled is kept, whatever the environment says: pytest rewrites every test, in every worker.
export PYTHONDONTWRITEBYTECODE :=

# The stamps lie in the environment that they speak of, and go with it.
RUNTIME := $(VENV)/.relay-runtime
DEV := $(VENV)/.relay-dev
BENCH := $(VENV)/.relay-bench
FUZZ := $(VENV)/.relay-fuzz
MUTATION := $(VENV)/.relay-mutation
# Apart, for they are large, and want other versions than the tests.
ADAPTERS_VENV := .venv-adapters
ADAPTERS := $(ADAPTERS_VENV)/.relay-adapters
SECONDS_EACH ?= 60
PAGES ?=
ONLY ?= relay_protocol/codec.py
TESTS ?= tests/unit/protocol/test_codec.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup demo quick test test-python faults fuzz lint lint-quick format adapters docs words screenshots pins bench \
	mutants clean python unit

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(DEV) ## Make .venv with everything that tests and checks need

demo: $(RUNTIME) ## Show a sample webhook going through the tunnel on this machine
	@$(BIN)/python examples/demo.py

quick: lint-quick ## Run the checks and tests that are done in a minute, before each commit
	@$(BIN)/python -m pytest $(QUICK_ARGS) tests/unit

test: lint adapters ## Run every check, then every test
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

adapters: $(ADAPTERS) ## Make .venv-adapters with CrewAI, LangGraph and others, which answers of a bot may come from

test-python: ## Run the unit tests with another Python: make test-python PYTHON=python3.13
	$(CHECK_PYTHON)
	@$(MAKE) --no-print-directory VENV=".venv-$(VERSION_HERE)" unit

# What chance finds does not depend on the Python: property tests try a tenth as often.
unit: $(DEV)
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m "not slow" --hypothesis-profile quick tests/unit

faults: $(DEV) ## Attack the promise for half an hour (RELAY_FAULT_SEED=N: the same choices again)
	@RELAY_FAULTS=deep $(BIN)/python -m pytest $(FAULT_ARGS) tests/faults tests/simulation --ignore $(FIGURES)
	@RELAY_FAULTS=deep $(BIN)/python -m pytest -rsP $(FIGURES)

lint: lint-quick ## Run every check that is not a test
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 relay_protocol relay_http relay_terminal relay_chatwoot relay_client
	$(BIN)/hadolint Dockerfile

lint-quick: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(DEV) ## Put the code into its form, and repair what ruff can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(RUNTIME) ## Write the reference pages that are made from the code
	@$(BIN)/python docs/generate.py

words: $(DEV) ## Gather what commands say, and make the catalogues of its translations
	@$(BIN)/python docs/words.py

screenshots: $(DEV) ## Take a picture of every page of the dashboard, into build/screenshots
	@$(BIN)/python -m docs.screenshots $(PAGES)

bench: $(BENCH) ## Measure latency, throughput and memory (see bench/README.md)
	@$(BIN)/python -m bench.run

fuzz: $(FUZZ) ## Feed every fuzz target what nobody would send (SECONDS_EACH=60; see tests/fuzz)
	@$(BIN)/python -m tests.fuzz.run $(SECONDS_EACH)

mutants: $(MUTATION) ## Change a module in each small way: would a test notice? (see tests/mutation)
	@nice $(BIN)/python -m tests.mutation.run $(ONLY) $(TESTS)

pins: $(BIN)/pip ## Choose the newest versions that fit, and pin them with hashes
	$(PIP) install --quiet uv
	$(UV_COMPILE) --upgrade -o requirements/build.txt requirements/build.in
	$(UV_COMPILE) --upgrade -o requirements/runtime.txt -c requirements/build.txt pyproject.toml
	$(UV_COMPILE) --upgrade -o requirements/postgres.txt requirements/postgres.in
	$(UV_COMPILE) --upgrade -o requirements/dev.txt pyproject.toml requirements/dev.in
	$(UV_COMPILE) --upgrade -o requirements/adapters.txt pyproject.toml requirements/adapters.in
	$(UV_COMPILE) --upgrade -o requirements/bench.txt requirements/bench.in
	$(UV_COMPILE) --upgrade -o requirements/fuzz.txt requirements/fuzz.in
	$(UV_COMPILE) --upgrade -o requirements/mutation.txt requirements/mutation.in

clean: ## Remove .venv and everything that was made
	rm -rf .venv .venv-* dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV): requirements/dev.txt pyproject.toml | $(BIN)/pip
	@echo 'Installing what development needs into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@$(INSTALL_SELF)
	@touch $(RUNTIME) $(DEV)

$(BENCH): requirements/bench.txt $(DEV)
	@echo 'Installing what the bench compares and looks with into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements/bench.txt
	@touch $(BENCH)

# pip takes two minutes for these, uv ten seconds; it knows the system's certificates when asked.
$(ADAPTERS): requirements/adapters.txt $(DEV)
	@echo 'Installing what the replies in docs/how-to ask into $(ADAPTERS_VENV)'
	@$(BIN)/uv venv --quiet --clear --no-project --python $(BIN)/python $(ADAPTERS_VENV)
	@$(BIN)/uv pip install --quiet --system-certs --python $(ADAPTERS_VENV)/bin/python \
		--require-hashes -r requirements/adapters.txt
	@touch $(ADAPTERS)

$(FUZZ): requirements/fuzz.txt $(DEV)
	@echo 'Installing the fuzzer into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements/fuzz.txt
	@touch $(FUZZ)

$(MUTATION): requirements/mutation.txt $(DEV)
	@echo 'Installing what mutation tests need into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements/mutation.txt
	@touch $(MUTATION)

$(RUNTIME): requirements/runtime.txt requirements/build.txt pyproject.toml | $(BIN)/pip
	@echo 'Installing Relay into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(INSTALL_SELF)
	@touch $(RUNTIME)

# One that was named is looked at also where an environment is there already.
ifneq ($(origin PYTHON),file)
$(DEV) $(RUNTIME): | python
endif

python:
	$(CHECK_PYTHON)

# pip is the last thing that venv makes: without it, the environment was left half made.
$(BIN)/pip:
	$(CHECK_PYTHON)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'This Python cannot make virtual environments. On Debian: apt install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
