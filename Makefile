# Everything a developer or CI runs. `make help` lists it; only Python 3.11 or newer and make are needed.

PYTHON ?= python3
VENV := .venv
COVERAGE :=
BIN := $(VENV)/bin

# Some machines say so for every program. Each of the tests' processes would then compile all that it imports once more:
# 3 s of CPU instead of 1 for each service that is started.
unexport PYTHONDONTWRITEBYTECODE

# pip brings uv, and uv the rest: what an environment holds is what its lock says, and nothing is chosen anew.
UV := .venv-uv/bin/uv
CREATE = $(UV) venv --quiet --clear --no-python-downloads --python
SYNC = $(UV) pip sync --quiet --require-hashes --python
EDITABLE = $(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable . --editable clients/python
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-annotate \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(LOCK)

# A stamp is newer than the lock it was installed from, so that a second run installs nothing.
CREATED := $(VENV)/pyvenv.cfg
INSTALLED := $(VENV)/.installed
INSTALLED_TEST := $(VENV)/.installed-test
LITELLM := .venv-litellm
INSTALLED_LITELLM := $(LITELLM)/.installed
PERSONALIZER := .venv-personalizer
INSTALLED_PERSONALIZER := $(PERSONALIZER)/.installed
PERSONALIZER_LOCKS := requirements/personalizer.txt requirements/personalizer/package-lock.json

.DEFAULT_GOAL := help
.PHONY: help install run test lint types contracts pytest slow python313 bench chaos browser proxies databases litellm personalizer openapi client settings lock locked clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## make .venv with the bandstand command

run: $(INSTALLED) ## serve on http://127.0.0.1:8000 with the state in state/
	@exec $(BIN)/bandstand serve

test: lint types contracts pytest ## lint, types, import contracts, then every test that is not slow

# A third of their time they wait, for servers and other processes: one more of them at once than there are cores.
pytest: $(INSTALLED_TEST) ## every test that is not slow, or those in TESTS; COVERAGE=--cov says what of the source they reach
	$(BIN)/pytest --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist worksteal $(COVERAGE) $(TESTS)

lint: $(INSTALLED_TEST) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED_TEST) ## mypy --strict over source, tests and benchmarks
	$(BIN)/mypy

contracts: $(INSTALLED_TEST) ## import-linter: imports only go down
	$(BIN)/lint-imports --no-logo

# They wait for servers, browsers and kills more than they compute: more of them at once than there are cores.
slow: $(INSTALLED_TEST) ## the tests that take minutes, and those in a browser
	$(BIN)/pytest --numprocesses 4 --dist worksteal -m slow

# Coverage is measured here, where the interpreter counts lines by itself: it costs 3 % instead of half as much again.
python313: $(UV) ## types, and every test that is not slow with coverage, under Python 3.13 in an environment of its own
	@python=$$(.ci/python313) && { [ -z "$$python" ] || COVERAGE_CORE=sysmon \
	    $(MAKE) --no-print-directory VENV=.venv-3.13 PYTHON="$$python" COVERAGE=$(if $(TESTS),,--cov) $(or $(ARGS),types pytest); }

bench: $(INSTALLED_TEST) ## measure the served process against its floors, as ratios
	$(BIN)/python benchmarks/serving.py $(ARGS)

# One at a time: apt-get refuses to run beside itself.
APT_INSTALL = if [ "$$(id -u)" = 0 ]; then SUDO=; else SUDO=sudo; fi; \
    exec 9> "$${TMPDIR:-/tmp}/bandstand-apt.lock" && flock 9 && $$SUDO apt-get update -qq && \
    $$SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

browser: ## install Chromium for the browser tests, by apt-get, where it is missing
	@command -v chromium > /dev/null || { $(APT_INSTALL) chromium fonts-dejavu-core; }

proxies: ## install nginx and HAProxy for the tests behind them, by apt-get, where one is missing
	@PATH="$$PATH:/usr/sbin"; command -v nginx > /dev/null && command -v haproxy > /dev/null || { $(APT_INSTALL) nginx-light haproxy; }

databases: ## install PostgreSQL and PgBouncer for the tests of its engine, and what they cut its links with, by apt-get, where missing
	@ls /usr/lib/postgresql/*/bin/postgres > /dev/null 2>&1 || command -v postgres > /dev/null || { $(APT_INSTALL) postgresql; }
	@command -v ip > /dev/null || { $(APT_INSTALL) iproute2; }
	@command -v pgbouncer > /dev/null || test -x /usr/sbin/pgbouncer || { $(APT_INSTALL) pgbouncer; }

chaos: $(INSTALLED_TEST) ## kill processes and databases under load, for as long as it takes; CHAOS=N times the short form
	BANDSTAND_CHAOS=$(or $(CHAOS),25) $(BIN)/pytest -q -m slow tests/store/postgres

litellm: $(INSTALLED_LITELLM) ## make .venv-litellm with a LiteLLM gateway, for the tests that start one

personalizer: $(INSTALLED_PERSONALIZER) ## make .venv-personalizer with clients of Azure Personalizer, for the tests that run them; installs Node.js by apt-get

openapi: $(INSTALLED) ## write docs/openapi.json from the routes
	@env -i PATH="$$PATH" $(BIN)/bandstand openapi > docs/openapi.json

client: $(INSTALLED_TEST) ## write the client's answers from docs/openapi.json, and its calls for event loops
	@$(BIN)/python clients/python/tools/write_client.py

settings: $(INSTALLED) ## write docs/settings.md and .env.example from the settings
	@$(BIN)/bandstand settings > docs/settings.md
	@$(BIN)/bandstand settings --env > .env.example

lock: $(UV) ## resolve pyproject.toml into requirements/ again; LOCK=--upgrade takes newer versions
	$(COMPILE) pyproject.toml --extra postgres --group build --output-file requirements/base.txt
	$(COMPILE) pyproject.toml requirements/base.txt --group test --output-file requirements/test.txt
	$(COMPILE) requirements/litellm.in --output-file requirements/litellm.txt
	$(COMPILE) requirements/personalizer.in --output-file requirements/personalizer.txt
	npm --prefix requirements/personalizer install --package-lock-only --omit-lockfile-registry-resolved
	$(COMPILE) requirements/uv.in --output-file requirements/uv.txt

locked: $(INSTALLED_TEST) ## install every lock by itself, and check that nothing in it asks for more
	$(BIN)/python requirements/check_locks.py $(UV) requirements/*.txt

clean: ## remove .venv, caches and builds, but no state
	rm -rf $(VENV) .venv-3.13 $(LITELLM) $(PERSONALIZER) .venv-uv dist build htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(INSTALLED_TEST): requirements/test.txt $(INSTALLED)
	$(SYNC) $(BIN)/python requirements/test.txt
	$(EDITABLE)
	@touch $@

$(INSTALLED): requirements/base.txt pyproject.toml $(CREATED)
	$(SYNC) $(BIN)/python requirements/base.txt
	$(EDITABLE)
	@touch $@

# Its packages contradict ours, and nothing of ours imports them: a place of its own.
$(INSTALLED_LITELLM): requirements/litellm.txt $(CREATED)
	@$(CREATE) $(BIN)/python $(LITELLM)
	$(SYNC) $(LITELLM)/bin/python requirements/litellm.txt
	@touch $@

# Theirs too. npm installs into the same folder, beside what Python has there.
$(INSTALLED_PERSONALIZER): $(PERSONALIZER_LOCKS) $(CREATED)
	@command -v npm > /dev/null || { $(APT_INSTALL) nodejs npm; }
	@$(CREATE) $(BIN)/python $(PERSONALIZER)
	$(SYNC) $(PERSONALIZER)/bin/python requirements/personalizer.txt
	@cp requirements/personalizer/package.json requirements/personalizer/package-lock.json $(PERSONALIZER)
	npm --prefix $(PERSONALIZER) ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

$(CREATED): | $(UV)
	@$(SUPPORTED)
	@$(CREATE) "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)

$(UV): requirements/uv.txt
	@$(SUPPORTED)
	@$(PYTHON) -m venv --clear .venv-uv || { rm -rf .venv-uv; exit 1; }
	.venv-uv/bin/python -m pip --disable-pip-version-check -qq install --require-hashes -r requirements/uv.txt
	@touch $@

SUPPORTED = $(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Bandstand needs Python 3.11 or newer, and $(PYTHON) is %d.%d; name another: make PYTHON=python3.13 ..." % v[:2])'

# An environment whose Python is gone, or is not the one that was asked for, is made again.
WHICH := -c 'import sys; print(sys.base_prefix, sys.version)'
ifeq ($(realpath $(BIN)/python),)
$(CREATED): AGAIN
else ifneq ($(origin PYTHON),file)
ifneq ($(shell $(PYTHON) $(WHICH) 2>&1),$(shell $(BIN)/python $(WHICH) 2>&1))
$(CREATED): AGAIN
endif
endif
AGAIN:
