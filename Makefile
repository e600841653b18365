# placet, for people.  `make demo` and `make test` set up what they need.

.PHONY: help setup demo test test-interop test-real-stack check bench fuzz vectors screenshots clean
.DEFAULT_GOAL := help

PY := .venv/bin/python
# Most tests wait for processes of theirs; beyond four at once they would wait for each other.
PYTEST := $(PY) -m pytest -n auto --maxprocesses 4

help:             ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 17

setup:            ## install Debian packages and the locked environment
	@scripts/setup test

demo:             ## walk one real approval from trust root to gate
	@scripts/setup demo
	@$(PY) examples/demo.py $(if $(HEADLESS),--headless)

test:             ## run all tests
	@scripts/setup test
	@$(PYTEST)

test-interop:     ## ask cosign, sigstore-go, rekor-cli, litewitness, gh, sigstore-js, aics-tlog, ots, OPA and CEL; fetches them once
	@scripts/setup test
	@scripts/setup-interop
	@$(PY) -m pytest -m interop_tools tests/interop_tools

test-real-stack:  ## the same with a real Rekor v2 and timestamp authority; builds them once
	@scripts/setup test
	@scripts/setup-interop
	@scripts/setup-real-stack
	@CI=true $(PY) -m pytest -m real_stack tests/interop_tools

check: setup      ## format, lint, types, layers, tests: what CI runs
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports
	@$(PYTEST)

bench: setup      ## measure, and print the table of benchmarks/README.md
	@$(PY) benchmarks/run_all.py

fuzz: setup       ## mutate near-valid input; SECONDS_TO_FUZZ=600 make fuzz takes longer than 60 s
	@$(PY) fuzz/run.py --seconds $${SECONDS_TO_FUZZ:-60}

vectors: setup    ## write vectors/ again from their seeds
	@$(PY) scripts/make_vectors.py

screenshots: setup ## take docs/screenshots from the real page
	@$(PY) scripts/screenshots.py

clean:            ## remove what was built, keep the environment
	@rm -rf dist build .demo
