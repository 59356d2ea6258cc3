# `make run` starts a group chat, `make test` tests it. Both need only Python 3.11 or newer with venv.
PYTHON ?= python3
PORT ?= 12345
WEB ?= 8080
# Other options of the daemon, such as OPTIONS='--web-host chat.example.org'.
OPTIONS :=
# How many tests run at the same time.
JOBS ?= 3
# How long to fuzz.
MINUTES ?= 30
VENV := .venv
BIN := $(VENV)/bin
METADATA := setup.cfg pyproject.toml
PIP_OPTIONS :=

.PHONY: run test test-all test-lowest trial lint bench screen screenshots chaos fuzz clean

# The daemon names the variables above, instead of its options, where one has to be chosen.
run: export GROUPCHAT_RUN := make
run: $(VENV)/.run
	@$(BIN)/twistd --nodaemon --pidfile= groupchat --port $(PORT) --tcp $(PORT) --quic --web $(WEB) --files shared $(OPTIONS)

test: $(VENV)/.test
	@$(BIN)/python -m pytest -q -n $(JOBS)

# With the slow proofs: power cuts, kills, losses at length, and the page in a browser.
test-all: $(VENV)/.test tests/browser/node_modules
	@GROUPCHAT_SLOW=1 $(BIN)/python -m pytest -q -n $(JOBS)

trial: $(VENV)/.test
	@$(BIN)/python -m twisted.trial -j $(JOBS) tests

# Under trial, with the lowest versions that setup.cfg allows.
test-lowest:
	@python3 .ci/lowest.py > .lowest.txt
	@$(MAKE) --no-print-directory trial VENV=.venv-lowest PIP_OPTIONS='--constraint .lowest.txt'

lint: $(VENV)/.lint
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

bench: $(VENV)/.run
	@$(BIN)/python -m benchmarks

screen: $(VENV)/.test
	$(BIN)/python -m tests.record docs/chat.svg

screenshots: $(VENV)/.test tests/browser/node_modules
	PYTHON=$(abspath $(BIN)/python) CHROMIUM=$$(command -v chromium) node tests/browser/screenshots.mjs

# What the tests of the page need besides chromium and nodejs; without it they are skipped.
tests/browser/node_modules: tests/browser/package-lock.json
	@command -v npm > /dev/null || { echo "There is no npm: the tests of the page are skipped."; exit 0; }; \
	    npm ci --silent --prefix tests/browser --ignore-scripts && touch $@

chaos: $(VENV)/.test
	$(BIN)/python -m tests.crash --kills 300

# SEED=... repeats the inputs of a run.
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf .venv .venv-lowest .lowest.txt _trial_temp* .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info \
	    tests/browser/node_modules twisted/plugins/dropin.cache

# One virtual environment, with a stamp for each set of packages. A change of the metadata installs them anew, and so
# does an installation that was interrupted.
$(VENV)/.run: EXTRA := .[all]
$(VENV)/.test: EXTRA := .[test]
$(VENV)/.lint: EXTRA := .[test,lint]
$(VENV)/.run $(VENV)/.test $(VENV)/.lint: $(METADATA)
	@test ! -e $(VENV)/.unfinished || rm -rf $(VENV)
	@echo "Installing $(EXTRA) into $(VENV) ..."
	@mkdir -p $(VENV) && touch $(VENV)/.unfinished
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) --editable '$(EXTRA)'
	@rm $(VENV)/.unfinished
	@touch $@
