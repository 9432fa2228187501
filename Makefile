# `make repro` and `make test` each do all the set-up on a machine with Python 3.11+, git and make.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# nothing of a run is reported to anybody unless these are set otherwise
export DVC_NO_ANALYTICS ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: repro test nightly lint ui bench suite sweep services services-deps clean

repro: .venv/ready
	dvc repro
	@python -m pipelines.show

test: .venv/ready
	OMP_NUM_THREADS=1 python -m pytest -n $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2) --dist loadscope --no-loadscope-reorder --durations 20 $(ARGS)

# what takes too long for every change: the whole matrix of backbones
nightly: .venv/ready
	OMP_NUM_THREADS=1 python -m pytest -m nightly -n $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2) $(ARGS)

lint: .venv/ready
	ruff check .
	ruff format --check .
	mypy
	lint-imports

ui: .venv/ready
	python -m pipelines.ui

bench: .venv/ready
	python -m benchmarks.run $(ARGS)

# every reading on real tasks; make suite DATA=FOLDER, which has the packs that docs/results/suite.md names
suite: .venv/ready
	python -m experiments.suite $(if $(DATA),--data $(DATA)) $(ARGS)

# make sweep ARGS="n_trials=200 experiment=cifar10 data.root=PATH"
sweep: .venv/ready
	python -m pipelines.sweep $(ARGS)

# PostgreSQL and the MLflow server, on loopback, until Ctrl-C
services: .venv/ready
	python -m pipelines.services $(ARGS)

# Debian and Ubuntu: PostgreSQL for services and sweeps, Chromium for the tests that look at MLflow's pages
services-deps:
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql chromium chromium-driver fonts-dejavu-core

# uv resolves and links in a fraction of pip's time; where it cannot reach its index, pip does the same work
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv -c constraints.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[pipeline,dev,bench]' \
	  || $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[pipeline,dev,bench]'
	touch $@

clean:
	rm -rf .venv outputs .dynaxx
