# Every target first creates .venv from pyproject.toml, with the versions in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo up down test test-fast soak bench check lint types contracts format clean

demo: $(STAMP)  ## the whole pipeline on handwritten digits that ship with a package
	$(BIN)/rded demo --out demo-out

up: $(STAMP)  ## a Prefect server and a worker on this machine, with the flows as deployments
	$(BIN)/rded up

down: $(STAMP)  ## stop what `make up` started
	$(BIN)/rded down

# Test modules run in the order of the folders, with the longest first; one process more than there are cores, four at
# most, because some tests wait for servers. Bytecode is kept: each process compiles for seconds without it.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q --maxprocesses 4 --dist loadfile --no-loadscope-reorder
WORKERS = $$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)')

test: $(STAMP)  ## all tests
	$(PYTEST) --numprocesses $(WORKERS)

test-fast: $(STAMP)  ## kernels and io, for the inner loop; without flows, commands, faults, servers and what starts processes
	$(PYTEST) --numprocesses logical -m 'not soak and not slow and not server and not processes' tests/rded_core

soak: $(STAMP)  ## tests that take hours: a hundred kills, killed servers, flipped bytes, ten thousand mutated files
	$(BIN)/python -m pytest -q -m soak --timeout=0

bench: $(STAMP)  ## speed compared with the plain algorithm, on a seeded workload
	$(BIN)/python -m benchmarks.speed --work bench-out --json bench-out/speed.json

check: lint types contracts  ## lint, types, import contracts

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	PYRIGHT_PYTHON_USE_BUNDLED_PYRIGHT=1 $(BIN)/pyright

contracts: $(STAMP)
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("rded needs Python >= 3.11, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 5 GB, some minutes the first time"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	touch $(STAMP)

clean:  ## remove what the targets above created, including the environment and the demo output
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache demo-out bench-out
