# Everything a person needs, from a fresh machine on. `make help` lists it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Half as many again as there are cores: tests of the window wait for its engine.
WORKERS := $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )))

# What Qt needs that PyPI does not bring; xvfb gives tests a real screen.
SYSTEM_PACKAGES := libegl1 libgl1 libxkbcommon0 libdbus-1-3 fonts-dejavu-core
SCREEN_PACKAGES := libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxkbcommon-x11-0

.PHONY: help setup system run demo test check quick lint benchmarks translations screenshots clean
.DEFAULT_GOAL := help

help:
	@echo "make run         open the window"
	@echo "make demo        prune the bundled demo model, watch it, export it"
	@echo "make setup       set everything up and start nothing"
	@echo "make test        set everything up and run all checks and tests"
	@echo "make check       the same without setting up: before a commit"
	@echo "make quick       the same without what is slow: while working"
	@echo "make benchmarks  measure the start, the answering and the planning of the window"
	@echo "make translations  take new words up into the translations"
	@echo "make screenshots  make the pictures of the user guide"
	@echo "make clean       remove what was built"

setup: system $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,runtimes]'
	touch $@

system:
	@sh .ci/system-packages $(SYSTEM_PACKAGES) $(SCREEN_PACKAGES)

run: setup
	$(BIN)/surgeon-gui

demo: setup
	$(BIN)/python -m surgeon_gui.demo

test: setup check

check: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile

quick: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not slow and not gpu"

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmarks: setup
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/ui_latency.py
	$(BIN)/python benchmarks/replan.py

translations: setup
	$(BIN)/python resources/translations/make.py

screenshots: setup
	$(BIN)/python docs/screenshots.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
