# Every target installs what it needs into .venv, again when pyproject.toml or constraints.txt change.
#   make PYTHON=python3.12 ...   another interpreter      make VENV=/tmp/venv ...   another folder
#   make                       electra itself, ready to use; make help: everything else
#   make test ARGS='-k optim'    further pytest arguments  make demo ARGS='--minutes 20'

VENV ?= .venv
# The first interpreter on the path that is new enough.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
JOBS ?= 2
ARGS ?=

BIN := $(VENV)/bin
KEY := $(shell cat pyproject.toml constraints.txt | cksum | tr -d ' ')
# These files record what is installed; 'dev' includes 'run'.
RUN_READY := $(VENV)/.run-$(KEY)
DEV_READY := $(VENV)/.dev-$(KEY)

PIP := $(BIN)/python -m pip --disable-pip-version-check
# One process per core: the tests run in parallel, each with one thread.
SINGLE := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
PYTEST := $(SINGLE) $(BIN)/python -m pytest -n $(JOBS) --durations=15

.DEFAULT_GOAL := install
.PHONY: help install demo model test test-all check format docs audit wheel release-check bench speedrun fuzz browser node

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(RUN_READY)  ## electra in .venv, ready to use (what 'make' alone does)
	@echo 'electra is ready, with small English models; try'
	@echo '  $(BIN)/electra predict "what a wonderful film"'
	@echo '  $(BIN)/electra detect "the chef ate the meal"'
	@echo "'make help' lists the other targets."

demo: $(RUN_READY)  ## raw text -> language model -> what pre-training is worth -> report, on this machine, in minutes
	@encoder=$$($(BIN)/python experiments/public_encoder.py) || encoder=shipped:mini; set -x; $(BIN)/electra demo --encoder "$$encoder" $(ARGS)

model: $(DEV_READY)  ## new bundled sentiment and encoder, from a public encoder: three hours on two cores, resumable
	sh experiments/model.sh $(ARGS)

test: check browser node  ## style, types, layers and the fast tests
	$(PYTEST) -m "not slow" $(ARGS)

test-all: check browser node  ## the same with the slow tests, with coverage
	$(PYTEST) --cov --cov-report=term $(ARGS)

check: $(DEV_READY)  ## style, types, layers and documentation only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy electra
	$(BIN)/lint-imports
	$(BIN)/python tools/typed_arguments.py --check
	$(BIN)/python bench/docs_tables.py --check
	$(BIN)/python tools/compatibility.py --check
	$(BIN)/python tools/licences.py --check
	$(BIN)/python tools/overviews.py --check

format: $(DEV_READY)  ## format every file
	$(BIN)/ruff check --fix-only --exit-zero --quiet .
	$(BIN)/ruff format .

docs: $(DEV_READY)  ## the documentation: its tables from their records and tests, then the site, into site/
	$(BIN)/python bench/docs_tables.py
	$(BIN)/python tools/compatibility.py
	$(BIN)/python tools/licences.py
	$(BIN)/python tools/overviews.py
	$(BIN)/python tools/docs_site.py

audit: $(DEV_READY)  ## the pinned versions against the known vulnerabilities in osv.dev
	$(BIN)/python tools/audit.py $(ARGS)

wheel: $(RUN_READY)  ## dist/electra-VERSION-py3-none-any.whl, to install elsewhere, and the line that does
	@rm -f dist/electra-*.whl
	$(PIP) wheel -q --no-deps --wheel-dir dist .
	@echo "pip install '$$(ls dist/electra-*.whl)[runtime]'"

release-check: $(DEV_READY)  ## sdist and wheel built, installed in an environment per extra, README.md's commands run there (ARGS="--extras runtime")
	$(BIN)/python tools/release_check.py $(ARGS)

bench: $(DEV_READY)  ## every claim about speed measured with its peers, into bench/records/ (ARGS="--sections startup", ARGS=--help)
	$(BIN)/python bench/run.py $(ARGS)

SPEEDRUN ?= 1h
SUBMISSION ?= mini
speedrun: $(DEV_READY)  ## docs/speedrun.md: pre-training of a fixed budget, then its score (SPEEDRUN=15m, SUBMISSION=mini, ARGS="--seeds 1 2 3"); resumes
	$(BIN)/python experiments/speedrun.py experiments/speedruns/$(SUBMISSION).toml --budget $(SPEEDRUN) --output runs/speedrun/$(SUBMISSION)-$(SPEEDRUN) $(ARGS)

# Atheris chooses inputs by the coverage they reach; where it cannot be installed, inputs are mutated without it.
ATHERIS := atheris==3.0.0
fuzz: $(DEV_READY)  ## parsers of foreign bytes fuzzed, two minutes each, continued by the next run (ARGS="tags --seconds 1800", ARGS=--help)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install -qq --only-binary :all: '$(ATHERIS)' || \
	  echo "make: $(ATHERIS) cannot be installed here: inputs are mutated without coverage"
	$(SINGLE) $(BIN)/python tests/fuzz/run.py $(ARGS)

# The tests of the page use Debian's chromium. If it cannot be installed they are skipped, and nothing fails here.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "installing chromium: once, a minute or two" && \
	  { timeout 600 apt-get install -qq -y --no-install-recommends chromium || { timeout 120 apt-get update -qq && \
	    timeout 600 apt-get install -qq -y --no-install-recommends chromium; }; } >/dev/null 2>&1; } || \
	  echo "make: no chromium (Debian: apt install chromium): the tests of the page are skipped"

# The tests of transformers.js use Node and its packages. Without either they are skipped, and nothing fails here.
CLIENTS := tests/clients
node:
	@cmp -s $(CLIENTS)/package.json $(CLIENTS)/node_modules/.installed || { \
	  command -v npm >/dev/null && echo "installing transformers.js into $(CLIENTS): once, a minute" && \
	  (cd $(CLIENTS) && timeout 300 npm install --ignore-scripts --no-package-lock --no-audit --no-fund --silent >/dev/null 2>&1 && \
	  cp package.json node_modules/.installed); } || \
	  echo "make: no transformers.js (Debian: apt install npm): its tests are skipped"

$(BIN)/python:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: this needs Python 3.11 or newer, found: $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1)"; \
	  echo "make: install one and name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; } >&2
	@$(PYTHON) -m venv $(VENV) || { rm -f $@; echo "make: $(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)" >&2; exit 1; }

$(RUN_READY): | $(BIN)/python
	@echo "installing electra[demo] into $(VENV): once, a few minutes"
	@$(PIP) install -qq --constraint constraints.txt --editable '.[demo]'
	@rm -f $(VENV)/.run-* $(VENV)/.dev-* && touch $@

$(DEV_READY): | $(BIN)/python
	@echo "installing electra[dev] into $(VENV): once, a few minutes"
	@$(PIP) install -qq --constraint constraints.txt --editable '.[dev]'
	@rm -f $(VENV)/.run-* $(VENV)/.dev-* && touch $@ $(RUN_READY)
