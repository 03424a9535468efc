# `make demo` and `make test` need nothing but Python 3.11 and its venv module.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all fuzz asan faults lint format type train predict evaluate view report data-check benchmark gpu-check pictures soak audit wandb-sync clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## Make .venv with everything for use and development

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(READY) ## A real clip with the shipped weights, then a short training on generated clips
	$(BIN)/python -m sali.predict source=sample output=outputs/demo/sample overlay=true
	$(BIN)/python -m sali.evaluate gt=sali/sample pred=outputs/demo/sample output=outputs/demo/sample_scores protocol=both
	$(BIN)/python -m sali.train experiment=demo hydra.run.dir=outputs/demo/latest ckpt_path=null
	$(BIN)/python -m sali.predict ckpt=outputs/demo/latest/checkpoints/last.ckpt \
		source=datasets/synthetic/TestHardDataset/Unseen output=outputs/demo/latest/predictions overlay=true
	@echo "real clip: outputs/demo/sample_scores/report.html, outputs/demo/sample_overlays"
	@echo "training: outputs/demo/latest/report.html, outputs/demo/latest/predictions_overlays"

test: $(READY) ## Tests that take seconds each, in two processes of one thread
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile $(ARGS)

test-all: $(READY) ## All tests; installs the extras `sweeps` and `scale`, 500 MB
	$(BIN)/python -m pip install --quiet --editable '.[dev,sweeps,scale]' 'moto[server]>=5.2,<6'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

fuzz: $(READY) ## Damaged and hostile inputs, 10,000 of each kind: make fuzz ARGS='--cases 1000 videos'
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

asan: $(READY) ## The C++ operators under AddressSanitizer: make asan ARGS='--cases 1000'
	tests/fuzz/asan.sh $(abspath $(BIN)/python) $(ARGS)

faults: $(READY) ## Commands killed or stopped at 30 moments each, full disks, lost files: make faults ARGS='--cases 3 predict'
	PYTHONPATH=tests:. OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m faults $(ARGS)

lint: $(READY) ## Style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Format in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(READY) ## Types of sali/ and benchmarks/
	$(BIN)/mypy

train: $(READY) ## Train: make train ARGS='experiment=seen_easy data.root=...'
	$(BIN)/python -m sali.train $(ARGS)

predict: $(READY) ## Maps: make predict ARGS='ckpt=... source=... output=...'
	$(BIN)/python -m sali.predict $(ARGS)

view: $(READY) ## Watch the segmenter in a page on this machine: make view ARGS='ckpt=...'
	$(BIN)/python -m sali.demo $(ARGS)

evaluate: $(READY) ## Scores of maps on disk: make evaluate ARGS='gt=... pred=... output=...'
	$(BIN)/python -m sali.evaluate $(ARGS)

report: $(READY) ## Make report.html of a run, evaluation or sweep again: make report RUN=outputs/...
	$(BIN)/python -m sali.report 'run=$(RUN)' $(ARGS)

data-check: $(READY) ## Is a copy of SUN-SEG complete and sound: make data-check ARGS='root=...'
	$(BIN)/python -m sali.data.check $(ARGS)

benchmark: $(READY) ## Speed and memory against the released way; outputs/benchmark
	$(BIN)/python -m benchmarks $(ARGS)

gpu-check: $(READY) ## Does a GPU compute what a CPU does, and how fast; outputs/gpu_check
	$(BIN)/python -m benchmarks.gpu_check $(ARGS)

pictures: $(READY) ## Those of README.md and docs/, from the run of `make demo`
	$(BIN)/python scripts/make_pictures.py $(ARGS)

soak: $(READY) ## Hours of streaming, clips and uploads; fails if memory, handles, threads or files grow
	$(BIN)/python -m tests.soak $(ARGS)

audit: $(READY) ## Known vulnerabilities of what is installed, and a list of it: outputs/sbom.json
	$(BIN)/python -m pip install --quiet --editable '.[audit]'
	$(BIN)/pip-audit --skip-editable
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --of JSON -o outputs/sbom.json $(BIN)/python

wandb-sync: $(READY) ## Upload the runs that W&B kept offline, resumed ones in order
	find outputs -type d -path '*/wandb/offline-run-*' -prune -print0 | sort -z \
		| xargs -0 -r $(BIN)/wandb sync --yes

clean: ## Remove what was made here, runs included
	rm -rf $(VENV) outputs/* datasets/synthetic .pytest_cache .mypy_cache .ruff_cache dist
	touch outputs/.gitkeep
