# Every target but `lock` needs only Python >= 3.11 and make; each sets up its own environment first.
#   PYTHON=python3.13   the interpreter for a new environment (default: the first found that is new enough)
#   VENV=.venv313       the environment to make and use (default: .venv)
#   ARGS='-k name'      passed on to the target's program
VENV ?= .venv
PYTHON ?=
ARGS ?=
export VENV

run = $(VENV)/bin/python
stamp = $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-long test-cluster check bench chaos lock dist

help:
	@echo 'make setup      the environment ($(VENV)); the others call it themselves'
	@echo 'make demo       a Temporal server, workers, producers and a kill in mid-turn, checked (KEEP=1 leaves it running)'
	@echo 'make test       every test, the large ones as a sample (24 minutes on two cores)'
	@echo 'make test-fast  the checks and every test that needs no server (4 minutes)'
	@echo 'make test-long  every test, whole (about an hour)'
	@echo 'make test-cluster  the tests with a server on a Temporal cluster and a journal on PostgreSQL (tests/README.md)'
	@echo 'make check      format, lint, types, import contracts, promises, links'
	@echo 'make bench      the budgets, measured beside a bare workflow, and cost curves (ARGS="--json FILE")'
	@echo 'make chaos      the fault campaign (ARGS="--minutes 60 --json FILE")'
	@echo 'make lock       renew the locked requirements'
	@echo 'make dist       the wheels of inturn, inturn-worker and inturn-gateway, into dist/'

setup: $(stamp)

$(stamp): requirements-dev.txt pyproject.toml client/pyproject.toml gateway/pyproject.toml scripts/setup
	@scripts/setup '$(VENV)' '$(PYTHON)'
	@touch $@

demo: setup
	@$(run) -m examples.demo $(ARGS)

test: setup
	@scripts/test $(ARGS)

test-fast: setup
	@scripts/test --fast

test-long: setup
	@INTURN_TEST_LONG=1 scripts/test $(ARGS)

test-cluster: setup
	@scripts/test --cluster $(ARGS)

check: setup
	@scripts/check

bench: setup
	@$(run) -m bench $(ARGS)

chaos: setup
	@$(run) -m tests.chaos $(ARGS)

lock: setup
	@scripts/lock $(ARGS)

dist: setup
	@scripts/dist $(ARGS)
