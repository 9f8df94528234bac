# Everything a person needs, from a fresh machine on. `make help` lists it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Processes of each of the two runs of tests, which wait for processes that they start.
WORKERS := $(shell getconf _NPROCESSORS_ONLN)

# Temporary files in memory: the tests write and delete thousands. Below this folder pytest
# numbers its own, so that two runs do not disturb each other.
TEMPORARY := $(shell test -w /dev/shm && echo PYTEST_DEBUG_TEMPROOT=/dev/shm)
# Every process compiles the code anew where bytecode is not written.
BYTECODE := PYTHONDONTWRITEBYTECODE=
PYTEST = OMP_NUM_THREADS=1 $(BYTECODE) $(TEMPORARY) $(BIN)/pytest -n $(WORKERS) \
  --dist worksteal
# The tests of the window run separately: their processes start without torch, those of
# the engine without Qt. Their output, and that of the linters, comes when they have ended.
MARKS := not runtimes
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
TOGETHER := $(MAKE) --no-print-directory -k -j 3 $(SYNC) lint engine-tests window-tests

# What Qt needs that PyPI does not bring; xvfb gives tests a real screen.
SYSTEM_PACKAGES := libegl1 libgl1 libxkbcommon0 libdbus-1-3 fonts-dejavu-core
SCREEN_PACKAGES := libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxkbcommon-x11-0
# An engine on another computer is tested with the client of OpenSSH.
TEST_PACKAGES := openssh-client

.PHONY: help setup system test-system hooks run demo test check quick engine-tests window-tests runtimes test-one lint fmt docs lock benchmarks translations \
  screenshots clean
.DEFAULT_GOAL := help

help:
	@echo "make run           open the window"
	@echo "make demo          prune the bundled demo model, watch it, export it"
	@echo "make setup         create .venv with all that development needs"
	@echo "make hooks         install the checks that run before each commit"
	@echo "make test          set up, then run all checks and tests and build the docs"
	@echo "make check         run linters, types, import contracts and tests"
	@echo "make quick         run the same with the fast tests alone"
	@echo "make runtimes      run the tests of all families, and those in other programs"
	@echo "make test-one T=tests/engine/pruning/test_costs.py   run one test"
	@echo "make fmt           format the code and apply safe fixes"
	@echo "make docs          build the documentation site into build/site"
	@echo "make lock          write requirements-dev.txt anew"
	@echo "make benchmarks    measure start-up, latency and planning of the window"
	@echo "make translations  update the catalogs of translations"
	@echo "make screenshots   make the pictures of the user guide"
	@echo "make clean         remove everything that was built"

setup: system $(VENV)/.run $(VENV)/.test $(VENV)/.docs

# A stamp for each purpose: running installs nothing that only tests and docs need.
# Modules are compiled when they are first imported: most of them never are.
PIP_INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

$(VENV)/.run: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable '.[runtimes]'
	touch $@

$(VENV)/.test: $(VENV)/.run requirements-dev.txt
	$(PIP_INSTALL) --constraint requirements-dev.txt --editable '.[test]'
	touch $@

$(VENV)/.docs: $(VENV)/.run requirements-dev.txt
	$(PIP_INSTALL) --constraint requirements-dev.txt --editable '.[docs]'
	touch $@

system:
	@sh .ci/system-packages $(SYSTEM_PACKAGES) $(SCREEN_PACKAGES)

test-system:
	@sh .ci/system-packages $(TEST_PACKAGES)

hooks: $(VENV)/.test
	$(BIN)/pre-commit install

run: system $(VENV)/.run
	$(BIN)/surgeon-gui

demo: system $(VENV)/.run
	$(BIN)/python -m surgeon_gui.demo

test: system test-system $(VENV)/.test $(VENV)/.docs
	@$(TOGETHER) docs

check:
	@$(TOGETHER)

quick:
	@$(TOGETHER) MARKS="not slow and not runtimes and not gpu"

engine-tests:
	$(PYTEST) -m "$(MARKS)" --ignore tests/gui -p no:pytest-qt

window-tests:
	$(PYTEST) -m "$(MARKS)" tests/gui

runtimes:
	$(PYTEST) -m runtimes

test-one:
	@test -n "$(T)" || { echo "Which test? make test-one T=tests/...::name"; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/pytest $(T)

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: setup
	$(BIN)/python .ci/lock_tools.py

benchmarks: setup
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/ui_latency.py
	$(BIN)/python benchmarks/replan.py

translations: $(VENV)/.run
	$(BIN)/python resources/translations/make.py

screenshots: setup
	$(BIN)/python docs/screenshots.py

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
