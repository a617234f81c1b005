# The verbs of a checkout. What an operator does to a platform of their own is
# in playbooks/; these set up the tools, the lab and the tests around it.
#
#   BSS_ARTIFACTS   directory of packages and archives (default: artifacts/)
#   CITUS           real demands the real Citus from there, standin takes the
#                   stand-in; otherwise whichever is there, and the tests say so

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PYTHON ?= python3.11
REGION ?= us-east
INVENTORY := inventories/$(REGION)
export BSS_ARTIFACTS ?= $(CURDIR)/artifacts
export CITUS ?=
# Only what is installed here decides: no configuration of the user's own.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONWARNINGS := ignore
PLAY := $(VENV)/bin/ansible-playbook -i $(INVENTORY)

.PHONY: help
help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.installed-tests engine maven ## from nothing to a verified, watched region with data, and a table of it
	@$(VENV)/bin/python lab/demo.py --inventory $(INVENTORY)

.PHONY: down
down: tools ## remove the lab's hosts and network, and nothing else
	@$(PLAY) playbooks/lab_down.yml

.PHONY: tools
tools: $(VENV)/.installed ## the controller's tools, into .venv

$(VENV)/.installed: requirements.txt
	@echo "Installing the controller's tools into $(VENV) (about a minute) ..."
	@lab/make-virtual-environment $(PYTHON) $(VENV) requirements.txt
	@touch $@

$(VENV)/.installed-tests: tests/requirements.txt $(VENV)/.installed
	@echo "Installing the tests' tools into $(VENV) ..."
	@lab/make-virtual-environment $(PYTHON) $(VENV) tests/requirements.txt
	@touch $@

.PHONY: engine
engine: ## Docker Engine, where none runs
	@lab/start-docker-engine

.PHONY: maven
maven: ## Maven, where it takes one to have Kafka and Flink
	@lab/install-maven

.PHONY: promtool
promtool: tools ## promtool, where there is none: what tests the alerts
	@lab/install-promtool $(VENV)

.PHONY: artifacts
artifacts: tools maven ## fill artifacts/ with what a closed network needs, with checksums
	@$(PLAY) playbooks/fetch_artifacts.yml

.PHONY: lint
lint: $(VENV)/.installed-tests promtool ## every linter, over everything
	@tests/lint $(VENV)

.PHONY: unit
unit: $(VENV)/.installed-tests ## tests without a network
	@PYTHONPATH=.collections $(VENV)/bin/python -m pytest -q --numprocesses 2 --dist loadfile tests/unit

# Three clusters side by side: most of the time, a test waits for its shards.
# What is of Kafka stays on one of them.
.PHONY: contract
contract: $(VENV)/.installed-tests engine maven ## modules against a real PostgreSQL with Citus, a real Kafka, a real Flink
	@lab/make-host-image bss-lab-host:bookworm
	@PYTHONPATH=.collections $(VENV)/bin/python -m pytest -q --numprocesses 3 tests/contract

.PHONY: molecule
molecule: $(VENV)/.installed-tests engine maven ## whole regions: made, broken, mended, verified
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" molecule/run

.PHONY: test
test: lint unit contract molecule ## all tests (what CI runs)

.PHONY: bench
bench: $(VENV)/.installed-tests engine maven ## measure speed (ONLY=flink: that alone); results in bench/results
	@$(VENV)/bin/python -m bench.run --inventory $(INVENTORY) $(ONLY:%=--only %)

.PHONY: dashboards
dashboards: $(VENV)/.installed-tests ## draw the dashboards from live data, without Grafana, into reports/dashboards
	@$(VENV)/bin/python -m dashboards.render --inventory $(INVENTORY)

.PHONY: reference
reference: $(VENV)/.installed-tests ## write docs/reference anew from the options' own documentation
	@$(VENV)/bin/python docs/generate.py
