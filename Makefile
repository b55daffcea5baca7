# Everything here may be killed at any moment and started again.
RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$each" -c '$(RECENT)' >/dev/null 2>&1 && echo "$$each" && break; done)
RUN := .venv/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo check test prove bench docs lock clean need-python env

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

need-python:
	@"$(PYTHON)" -c '$(RECENT)' 2>/dev/null || { \
	echo "Headway needs Python 3.11 or newer: install it (on Debian: apt-get install python3 python3-venv)" \
	"or name it: make PYTHON=/path/to/python3" >&2; exit 1; }

install: need-python ## make the environment .venv with what the main job needs
	@$(PYTHON) tools/install.py demo

env: need-python
	@$(PYTHON) tools/install.py test

demo: install ## run the main job on real data, from images to a registered model; goes on where it was
	@exec $(RUN) examples/digits/demo.py $(ARGS)

check: env ## format, lint, types, import contract, unit tests: under two minutes
	@exec $(RUN) tools/check.py

test: env ## all tests that this machine can run
	@exec $(RUN) tools/test.py $(ARGS)

prove: env ## the kill tests at full size; keeps the counts in docs/evidence.md
	@exec $(RUN) tools/prove.py $(ARGS)

bench: env ## measure against peers; writes docs/benchmarks.md
	@exec $(RUN) -m benchmarks $(ARGS)

docs: env ## build the pages into site/
	@$(RUN) -m sphinx -q -W --keep-going -b html -d build/doctrees docs site && echo "the pages are in site/index.html"

lock: need-python ## choose the newest versions again
	@exec $(PYTHON) tools/lock.py

clean: need-python ## remove the environment, caches, pages and the demo's results
	@exec $(PYTHON) tools/clean.py
