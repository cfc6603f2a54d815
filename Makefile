# `make repro`: all stages on the built-in sample. `make test`: the tests. `make experiment`: the comparison of
# experiments/arms.yaml, after all stages. `make bench`, `make faults`: what the pages in docs/ say was measured. All install what
# they need into .venv first.

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test bench experiment faults lock clean

repro: .venv/installed
	@test -e .git || dvc config --local core.no_scm true
	dvc repro

test: .venv/installed
	ruff check
	ruff format --check
	mypy
	pytest -n auto --dist worksteal

# What the speeds in docs/scale.md are measured with; needs a machine of its own, 15 minutes.
bench: .venv/installed
	python -m benchmarks

# Long ones, beside the tests: kills, flipped bits, the same again and again. docs/faults.md has the figures.
faults: .venv/installed
	python -m endurance.damage
	python -m endurance.kills
	python -m endurance.soak

# One thread per training and a training per core: on small networks that is faster than all cores on one.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
# Tried twice, because two DVC processes that write the lock file at once get in each other's way.
ONE := dvc repro --quiet --single-item "$$1"
experiment: repro
	dvc stage list experiments/dvc.yaml --name-only | grep ':train@' | \
		OMP_NUM_THREADS=1 xargs -P $(JOBS) -n 1 sh -c '$(ONE) || { sleep 5; $(ONE); }' sh
	dvc repro --single-item experiments/dvc.yaml:score
	dvc repro --single-item experiments/dvc.yaml:table

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed, found `$(PYTHON) --version`: run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	pip install --quiet --disable-pip-version-check -r requirements.lock
	pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# A new tested set: the newest versions that pyproject.toml allows. `torch` is written plainly, without a local version and
# without the CUDA packages it brings by itself: it resolves to a CPU build or to a CUDA build, whichever is to be had.
GPU_MACHINES := platform_machine == "x86_64" and (sys_platform == "linux" or sys_platform == "win32")
OTHERS := platform_machine != "x86_64" or (sys_platform != "linux" and sys_platform != "win32")
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet torch==2.13.0
	.venv-lock/bin/pip install --quiet --editable '.[dev]'
	.venv-lock/bin/pip freeze --exclude-editable | sed -E \
		-e '/^(nvidia-|triton|cuda-)/d' \
		-e 's/^(torch==[0-9.]+)\+.*/\1/' \
		-e 's/^onnxruntime-gpu==(.*)/onnxruntime-gpu==\1; $(GPU_MACHINES)\nonnxruntime==\1; $(OTHERS)/' > requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf .venv data
