# The commands a contributor and CI share. Each makes the environment when it is missing,
# brings it up to date when pyproject.toml or constraints.txt changed, and reuses it otherwise.

PYTHON ?= python3
VENV ?= .venv
FOLDER ?= corpus

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: chat test check

# Syncs FOLDER, the sample corpus unless told, and serves the chat page.
chat: $(INSTALLED)
	$(BIN)/python app.py "$(FOLDER)"

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch comes first and by itself, so that a build of it chosen by hand is kept.
$(INSTALLED): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'readback needs Python 3.11 or newer, and "$(PYTHON)" is not.' \
	       'Name one that is: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@
