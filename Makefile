# Everything a person or CI runs. The virtual environment is made from the lock file, so nothing is solved here.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo test test-real bench fuzz image check format diagrams lock clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(STAMP)  ## make the virtual environment

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "argoexec needs Python 3.11 or later: make PYTHON=python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(STAMP)  ## run a template of examples/ on this machine
	@$(BIN)/argoexec run examples/demo.yaml

test: $(STAMP)  ## the tests that run anywhere: no root, no network, no servers
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 8 --dist loadfile

test-real: $(STAMP)  ## install and start the real servers (root, Debian), run everything; skipping is a failure
	tests/servers/run-real.sh $(BIN)/python

bench: $(STAMP)  ## benchmarks: ratios that hold on any machine; of pods also what a waiting one costs
	$(BIN)/python -m tests.benchmarks

fuzz: $(STAMP)  ## change archives at random for two minutes, and see that none does harm
	$(BIN)/python -m tests.fuzz --seconds 120

image: $(STAMP)  ## build/argoexec.tar, for docker load and ctr images import
	@mkdir -p build
	$(BIN)/python -m deploy.rootfs --image argoexec:$$($(BIN)/python -c 'from importlib.metadata import version; print(version("argoexec"))') build/argoexec.tar

check: $(STAMP)  ## lint, types, import contracts, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m diagrams.generate --check
	$(BIN)/python -m tests.faults.matrix --check

format: $(STAMP)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

diagrams: $(STAMP)  ## draw the tables anew
	$(BIN)/python -m diagrams.generate
	$(BIN)/python -m tests.faults.matrix

lock:  ## solve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  pyproject.toml --all-extras --group dev -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  tests/servers/requirements.in -o tests/servers/requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info
