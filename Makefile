# `make run` starts a group chat, `make test` shows that it works. Both need only Python 3.11+ with venv.
PYTHON ?= python3
PORT ?= 12345
WEB ?= 8080
VENV := .venv
BIN := $(VENV)/bin
METADATA := setup.cfg pyproject.toml

.PHONY: run test lint bench screen screenshots chaos clean

run: $(VENV)/.run
	$(BIN)/twistd --nodaemon --pidfile= groupchat --port $(PORT) --tcp $(PORT) --quic --web $(WEB) --files shared

test: $(VENV)/.test
	$(BIN)/python -m twisted.trial tests
	$(BIN)/python -m pytest

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/.run
	$(BIN)/python -m benchmarks

screen: $(VENV)/.test
	$(BIN)/python -m tests.record docs/chat.svg

screenshots: $(VENV)/.test tests/browser/node_modules
	PYTHON=$(abspath $(BIN)/python) CHROMIUM=$$(command -v chromium) node tests/browser/screenshots.mjs

# What the tests of the page need beside Debian's chromium and nodejs: without it they are skipped.
tests/browser/node_modules: tests/browser/package-lock.json
	npm ci --prefix tests/browser --ignore-scripts
	touch $@

chaos: $(VENV)/.test
	$(BIN)/python -m tests.crash --kills 300

clean:
	rm -rf $(VENV) _trial_temp* .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info tests/browser/node_modules twisted/plugins/dropin.cache

# One virtual environment; a stamp in it for each set of packages, made again when the metadata changes. What was
# interrupted half-way is begun anew.
$(VENV)/.run: EXTRA := .[quic,web]
$(VENV)/.test: EXTRA := .[test]
$(VENV)/.lint: EXTRA := .[test,lint]
$(VENV)/.run $(VENV)/.test $(VENV)/.lint: $(METADATA)
	test ! -e $(VENV)/.unfinished || rm -rf $(VENV)
	mkdir -p $(VENV) && touch $(VENV)/.unfinished
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '$(EXTRA)'
	rm $(VENV)/.unfinished
	touch $@
