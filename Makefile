# The two commands of the README: `make train` and `make test`. Both make their own environment on a bare machine
# (Python 3.11 or newer, pip) and are quick the second time.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# More options for `askew train`, e.g. SETS="--set train.max_steps=10"
SETS   ?=
DRILL  ?=

.PHONY: train test test-gpu drill check docs format clean

train: $(STAMP)
	$(BIN)/askew train tiny $(SETS)

# One worker more than there are cores, since tests wait for signals, processes and disks
WORKERS = $$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)')
test: $(STAMP)
	@sh scripts/install_chromium.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# On a machine with a CUDA device: what must be as on the CPU
test-gpu: $(STAMP)
	ASKEW_TEST_DEVICE=cuda $(BIN)/python -m pytest tests/gpu

# 200 trials of everything that can happen to a run; docs/training.md. DRILL="--trials 20 --kinds kill,flip" for fewer
drill: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/drill.py $(DRILL)

check: $(STAMP)
	$(BIN)/ruff format --check src tests scripts benchmarks examples
	$(BIN)/ruff check src tests scripts benchmarks examples
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/test_house.py tests/test_docs.py

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo 'the site: site/index.html'

format: $(STAMP)
	$(BIN)/ruff format src tests scripts benchmarks examples
	$(BIN)/ruff check --fix src tests scripts benchmarks examples

clean:
	rm -rf $(VENV) dist build site .pytest_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("askew needs Python 3.11 or newer; set PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing askew and what it needs into $(VENV), once; this takes some minutes'
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(STAMP)
