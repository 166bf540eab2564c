# felixpy: everything around the code. Two commands are enough on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/locked
TOOLED := $(VENV)/tooled
READY := $(VENV)/ready
LEGACY := $(VENV)/legacy
APISERVER := $(VENV)/kube-apiserver
UV := uv==0.13.8
COMPILE := --universal --python-version 3.11 --generate-hashes --quiet --custom-compile-command 'make lock' \
	$(if $(filter 1,$(UPGRADE)),--upgrade,$(addprefix --upgrade-package ,$(UPGRADE)))
# Locks name every package, so nothing is left to resolve: what an index offers on the day makes no difference.
INSTALL := $(BIN)/python -m pip install --quiet --no-deps
DEMO := fixtures/demo/access-nginx.yaml
PYTEST := $(BIN)/python -m pytest
# Tests in namespaces run as root, or with passwordless sudo; in CI one of them is required.
SUDO = $(shell [ "$$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null && echo sudo; })
NAMESPACED = $(SUDO) env CI=$(CI) PYTHONDONTWRITEBYTECODE=1 $(PYTEST) -p no:cacheprovider -m netns -n auto --dist worksteal
export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test check lint format types unit property readers sweep fuzz netns conformance cluster-tests bench wheel \
	docs vm lock clean kernel-tools legacy witness

help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

# What runs felixpy, and felixpy itself straight from this folder: no build tool is needed for that.
$(LOCKED): requirements.lock
	@tools/system.sh python
	@echo "felixpy: making the environment $(VENV)" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip check --quiet
	@echo "$(CURDIR)" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/felixpy.pth"
	@printf '#!/bin/sh\nexec "%s/python" -P -m felixpy "$$@"\n' "$(CURDIR)/$(BIN)" > $(BIN)/felixpy
	@chmod +x $(BIN)/felixpy
	@$(BIN)/python -m compileall -q felixpy  # for those who cannot write here, or let Python write no bytecode
	@touch $@

# What tests, checks and builds it.
$(TOOLED): requirements-test.lock $(LOCKED)
	@$(INSTALL) --require-hashes --requirement requirements-test.lock
	@touch $@

$(READY): $(TOOLED) pyproject.toml
	@$(INSTALL) --no-build-isolation --editable .
	@rm -f $(VENV)/lib/python*/site-packages/felixpy.pth
	@$(BIN)/python -m pip check --quiet
	@touch $@

$(LEGACY): requirements-legacy.lock $(TOOLED)
	@tools/system.sh compiler
	@$(INSTALL) --no-build-isolation --use-pep517 --require-hashes --requirement requirements-legacy.lock
	@touch $@

kernel-tools:
	@tools/system.sh kernel

# Without a compiler, tests run without python-iptables, but not in CI.
witness: $(READY)
	@$(MAKE) --silent --no-print-directory $(LEGACY) || case "$(CI)" in ""|0|false) \
		echo "felixpy: no python-iptables here: the tests that read tables back with it are skipped" >&2 ;; *) exit 1 ;; esac

install: $(READY)  ## the environment .venv with felixpy and all tools, exactly as locked

legacy: $(LEGACY)  ## python-iptables, which reads legacy tables back in tests; built from source

demo: $(LOCKED)  ## compile the example of the README into rules and sets
	$(BIN)/felixpy render $(DEMO)
	$(BIN)/felixpy render $(DEMO) --ipsets --quiet

test: $(READY) kernel-tools witness lint types  ## everything: style, types, and all tests, including those in network namespaces
	$(if $(SUDO),@$(NAMESPACED))
	@$(PYTEST) -n auto --dist worksteal $(if $(SUDO),-m "not netns")

check: lint types unit  ## to run before a commit: style, types, fast tests

lint: $(READY)  ## ruff, its formatter, and whether the generated pages are up to date
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --diff --quiet; echo "not formatted: make format" >&2; false; }
	@$(BIN)/python tools/document_settings.py --check || { echo "docs/settings.md is out of date: make docs" >&2; false; }
	@$(BIN)/python tools/document_man.py --check || { echo "docs/felixpy.1 is out of date: make docs" >&2; false; }

format: $(READY)  ## format the code with ruff
	@$(BIN)/ruff format --quiet

types: $(READY)  ## mypy, strict
	@$(BIN)/mypy

unit: $(READY)  ## the fast tests only: no namespaces, nothing slow
	@$(PYTEST) -n auto --dist worksteal -m "not netns and not slow"

property: $(READY)  ## property tests on generated clusters, with more examples than `make test`
	@$(PYTEST) -m property --hypothesis-profile=thorough --timeout=0

INPUTS ?= 0
SEED ?= 1
fuzz: $(READY)  ## run all commands on mutated inputs until interrupted, or INPUTS=N of them; SEED=N makes others
	@$(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(SEED)

netns: $(READY) kernel-tools witness  ## tests that need a real kernel: every recorded case is loaded and read back
	@$(NAMESPACED)

cluster-tests: $(READY)  ## read the API server of Kubernetes itself, built from its module (Go 1.26, ten minutes the first time)
	@tools/system.sh cluster
	@cd tests/cluster/apiserver && go build -trimpath -o ../../../$(APISERVER) .
	@CI=true FELIXPY_APISERVER=$(CURDIR)/$(APISERVER) $(PYTEST) tests/cluster

conformance: $(READY)  ## compare with the recorded rules of Felix v3.32.1; prints the parity table
	@$(PYTEST) tests/conformance

readers: $(READY)  ## compare the fast and the exact readers on 50,000 invalid manifests (long)
	@$(BIN)/python -m tests.readers 50000

sweep: $(READY)  ## check verify on every deletion of a rule in the recorded clusters, and other damage, by walking packets (long)
	@$(BIN)/python -m tests.sweep

bench: $(READY)  ## time and memory of rendering, of connectivity and of reading dumps; with root, also of writing rules into a kernel
	@$(BIN)/python -m tests.bench
	@$(BIN)/python -m tests.bench.flows
	@$(BIN)/python -m tests.bench.dumps
	@$(BIN)/python -m tests.bench.fleet
	@$(BIN)/python -m tests.bench.policytests
	@$(SUDO) $(BIN)/python -m tests.bench.kernel
	@$(SUDO) $(BIN)/python -m tests.bench.lab

wheel: $(READY)  ## a wheel and an sdist in dist/
	@$(BIN)/python -m build --no-isolation --outdir dist

docs: $(READY)  ## regenerate docs/settings.md, docs/lint, the manual page, and the output of commands in the documents
	@$(BIN)/python tools/document_settings.py
	@$(BIN)/python tools/document_examples.py
	@$(BIN)/python tools/document_lint.py
	@$(BIN)/python tools/document_man.py

vm:  ## a virtual Debian for those without Linux or root, with felixpy on its PATH; runs the tests there
	vagrant up
	vagrant ssh -c 'cd /opt/felixpy && make test'
	@echo "felixpy: next, vagrant ssh, and there: sudo felixpy lab up /opt/felixpy/fixtures/demo/access-nginx.yaml" >&2

lock:  ## update the locks from pyproject.toml, pins kept; UPGRADE=1 renews all pins, UPGRADE="NAME…" these
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/pip install --quiet $(UV)
	@$(VENV)-lock/bin/uv pip compile pyproject.toml $(COMPILE) --output-file requirements.lock
	@$(VENV)-lock/bin/uv pip compile pyproject.toml --group dev $(COMPILE) --output-file requirements-test.lock \
		--constraint requirements.lock $$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock)
	@sed -n 's/^legacy = \["\([^"]*\)"\].*/\1/p' pyproject.toml | \
		$(VENV)-lock/bin/uv pip compile - --no-annotate $(COMPILE) --output-file requirements-legacy.lock
	@rm -r $(VENV)-lock

clean:  ## remove the environment and all generated files
	@rm -rf $(VENV) $(VENV)-lock build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find felixpy tests -name __pycache__ -prune -exec rm -r {} +
