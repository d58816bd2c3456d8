# `make demo` and `make test` work on a fresh machine: both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
# Files of tests that run at a time; half of what tests do is wait.
TEST_JOBS ?= 2
BENCH_JSON ?= .benchmarks/latest.json
EXTRAS := dev,faiss,ray,s3$(shell [ "$$(uname -sm)" = "Linux x86_64" ] && echo ,gpu)

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint bench ablation gpu-check docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt setup.py CMakeLists.txt $(shell find csrc -type f)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

demo: setup
	$(BIN)/ophclip demo --out $(DEMO)

test: setup
	$(BIN)/python -m pytest --numprocesses $(TEST_JOBS) --dist loadfile

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*.cpp' 'csrc/*.h' 'csrc/*.cu' 'csrc/*.cuh')

bench: setup
	mkdir -p $(dir $(BENCH_JSON))
	$(BIN)/python -m pytest benchmarks --timeout=0 --benchmark-enable --benchmark-only --benchmark-quiet --benchmark-json=$(BENCH_JSON)

ablation: setup
	$(BIN)/python benchmarks/ablation.py --table docs/ablation.md

gpu-check:
	benchmarks/gpu_check.sh

docs: setup
	$(BIN)/python docs/contact_sheet.py
	$(BIN)/python docs/key_table.py

clean:
	rm -rf build dist *.egg-info ophclip/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
