# Everything sets itself up: .venv from pyproject.toml, with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo up down test soak bench check lint types contracts format clean

demo: $(STAMP)  ## the main job end to end on digits that come with a package
	$(BIN)/rded demo --out demo-out

up: $(STAMP)  ## a Prefect server and a worker on this machine, with the flows as deployments
	$(BIN)/rded up

down: $(STAMP)  ## stop what `make up` started
	$(BIN)/rded down

# Modules in as many processes as there are cores, four at most; in the order of rooms, since the longest come first.
test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

soak: $(STAMP)  ## the long forms: a hundred kills, killed servers, two hundred flipped bytes, ten thousand mutated files; hours
	$(BIN)/python -m pytest -q -m soak --timeout=0

bench: $(STAMP)  ## speed against the algorithm written plainly, on a seeded workload
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

clean:  ## remove what the targets above made, environments and demo output included
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache demo-out bench-out
