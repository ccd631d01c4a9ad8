# `make cifar2` trains, `make test` checks: each sets up everything that it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/pip install --disable-pip-version-check

KILLS ?= 50
SECONDS ?= 600
OLDEST_PYTHON ?= python3.10
WORKERS ?= auto
# One test may take as long as it is asked to, and says how far it is.
LONG := $(BIN)/pytest -s -o faulthandler_timeout=0

.PHONY: setup help cifar2 pix2pix test test-long test-oldest lint bench quick-bench torture attack

setup: .venv/installed ## set up .venv with everything that the other targets need

.venv/installed: setup.cfg setup.py pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[test]'
	touch $@

.venv/installed-bench: .venv/installed
	$(INSTALL) --editable '.[bench]'
	touch $@

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

cifar2: setup ## train a classifier of airplanes and birds; ARGS="--epochs 5" passes options on
	$(BIN)/python scripts/run_cifar2.py $(ARGS)

# Without ARGS: drawn façades, small enough for three minutes on two cores.
pix2pix: setup ## train an image-to-image translator, on drawn façades unless ARGS say otherwise
	$(BIN)/python scripts/run_pix2pix.py $(or $(ARGS),--dataset generated --image-size 64 --epochs 3 --decay-epochs 2)

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy scripts benchmarks

# One thread for each of several processes: more of them slow each other.
PYTEST = OMP_NUM_THREADS=1 $(1)/pytest -n $(WORKERS) --dist loadfile

# Six minutes or less on two cores.
test: lint ## lint, then tests and doctests
	$(call PYTEST,$(BIN)) -m "not slow and not browser" $(ARGS)

# Runs that are killed again and again, pages in a browser, and whatever else takes long.
test-long: setup ## the tests that take long or need Chromium
	$(call PYTEST,$(BIN)) -m "slow or browser" $(ARGS)

# With the oldest versions that setup.cfg allows.
test-oldest: ## the tests with the oldest packages that are supported, in .venv-oldest
	test -x .venv-oldest/bin/python || $(OLDEST_PYTHON) -m venv .venv-oldest
	PIP_CONSTRAINT=constraints-oldest.txt PIP_BUILD_CONSTRAINT=constraints-oldest.txt \
	  .venv-oldest/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
	$(call PYTEST,.venv-oldest/bin) -m "not slow and not browser" $(ARGS)

# Kill real runs KILLS times, at random moments, and compare them with undisturbed ones.
torture: setup ## kill real runs again and again, and compare them with undisturbed ones; KILLS=50
	TORTURE_KILLS=$(KILLS) TORTURE_SEED=$$$$ $(LONG) tests/scripts/test_torture.py tests/ignite_pipeline/run/test_torchrun.py

# Attack real runs for SECONDS, in all ways at random, and count what held; ATTACK_SEED=1234 tries that one again.
attack: setup ## attack real runs in all ways at random, and count what held; SECONDS=600
	ATTACK_SECONDS=$(if $(ATTACK_SEED),,$(SECONDS)) ATTACK_SEED=$(ATTACK_SEED) $(LONG) tests/attacks

# Half a minute: fails if something takes half as long again as it did, beside its peers.
quick-bench: setup ## fail if something takes half as long again as it did, beside its peers; half a minute
	$(BIN)/python benchmarks/quick.py

# Some two hours on two cores; leave the machine alone meanwhile. ARGS=feeding.py runs that one alone.
bench: .venv/installed-bench ## measure everything beside its peers, and write BENCHMARKS.md; two hours
	$(BIN)/python benchmarks/report.py $(ARGS)
