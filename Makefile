# `make demo` and `make test` do all the set-up they need; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-$(shell cat requirements.lock pyproject.toml applications/*/pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
# abspath splits a path at its spaces
absolute = $(if $(word 2,$(1)),$(if $(filter /%,$(firstword $(1))),$(1),$(CURDIR)/$(1)),$(abspath $(1)))
LOCALCLOUD_HOME := $(call absolute,$(or $(LOCALCLOUD_DIR),.localcloud))
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),$(CURDIR)/scripts/as-root)
LOCALCLOUD := $(AS_ROOT) $(PYTHON) -m localcloud

# without the cloud half of the inventory, which needs a cloud
ANSIBLE_LINT := ANSIBLE_INVENTORY=$(CURDIR)/inventory/10-plan.yml ansible-lint --offline
UNIT := pytest -q -n 2 tests/unit tests/golden applications/calculator/tests/unit
MOLECULE := NETORDER_TOPOLOGY= MOLECULE_COMMAND_BORDERS=false molecule test

# The cloud: the one that OS_CLOUD or OS_* names, else the local one, which is then started when needed.
ifeq ($(OS_CLOUD)$(OS_AUTH_URL),)
LOCAL := yes
export OS_CLOUD := netorder-local$(if $(filter-out default,$(LOCALCLOUD_NAME)),-$(LOCALCLOUD_NAME))
export OS_CLIENT_CONFIG_FILE := $(LOCALCLOUD_HOME)/clouds.yaml
endif
export PATH := $(abspath $(BIN)):$(PATH)
# make demo TARGET=containers: not on OpenStack but in podman's containers on this machine, as root; TARGET=machine: in
# virtual machines of QEMU on this machine, as whoever you are
export NETORDER_TARGET := $(or $(TARGET),$(NETORDER_TARGET))
ifeq ($(NETORDER_TARGET),containers)
PLACE := container-image
AS_USER := $(AS_ROOT)
else ifeq ($(NETORDER_TARGET),machine)
PLACE := machine-image
DEFAULT_TOPOLOGY := topologies/machine.yml
else
PLACE := cloud
endif
# one topology for all of a target's commands: make demo TOPOLOGY=topologies/insa-lab.yml
export NETORDER_TOPOLOGY := $(call absolute,$(or $(TOPOLOGY),$(DEFAULT_TOPOLOGY),topologies/calculator.yml))

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / && !said[$$1]++ {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup $(PLACE) ## the topology on a real OpenStack (or TARGET=containers, machine), up to the calculator's answer
	@$(AS_USER) scripts/demo

.PHONY: test
test: setup lint unit docs packets host-network services-test containers machine $(if $(LOCAL),life reconcile faults operations) molecule repair ## every test, on the real cloud too

.PHONY: test-full
test-full: test drawn-full report-test containers-full machine-full $(if $(LOCAL),life-full reconcile-full applications examples operations-full faults-every) newest ## all of make test, every fault, and the newest ansible-core: hours

.PHONY: setup
setup: $(STAMP) ## the tools this project needs: Debian packages, .venv with exact versions

# some targets' commands have its path as it is, which a shell splits at spaces
.PHONY: place-of-checkout
place-of-checkout:
	@case $$PWD in *[[:space:]]*) echo "error: commands of this Makefile split a path that has a space: move this checkout elsewhere: $$PWD" >&2; exit 1 ;; esac

$(STAMP): requirements.lock pyproject.toml $(wildcard applications/*/pyproject.toml) scripts/setup scripts/packages.sh | place-of-checkout
	@scripts/setup $(VENV) $(PYTHON)
	@touch $@

.PHONY: lint
lint: setup ## ruff, mypy, import-linter, yamllint, ansible-lint
	ruff check .
	ruff format --check .
	mypy src applications/calculator/src
	mypy localcloud
	lint-imports --no-logo --no-cache
	yamllint --strict .
	$(ANSIBLE_LINT)

.PHONY: unit
unit: setup ## pure functions, golden files
	$(UNIT)

.PHONY: newest
# test_versions.py: it holds the installed versions against requirements.lock
newest: setup cloud ## lint, unit tests and a molecule scenario with the newest ansible-core (requirements-newest.lock)
	scripts/newest $(PYTHON) env $(ANSIBLE_LINT)
	scripts/newest $(PYTHON) $(UNIT) --ignore=tests/unit/test_versions.py
	scripts/newest $(PYTHON) env $(MOLECULE)

.PHONY: packets
SEED ?= 4
# without root, in a user namespace, which is enough for network namespaces
# more workers than cores: mostly they wait for packets that must not come
packets: setup ## random plans as network namespaces, probed with real packets: make packets SEED=5 DRAWN=200
	$(if $(filter-out 0,$(shell id -u)),unshare --user --map-root-user )pytest -q -n 4 --maxschedchunk 1 --hypothesis-seed=$(SEED) --drawn=$(or $(DRAWN),28) tests/packets

.PHONY: drawn-full
drawn-full: setup ## more drawn topologies than `make test` has, with other seeds
	$(MAKE) --no-print-directory packets SEED=11 DRAWN=150
	$(if $(LOCAL),$(AS_ROOT) pytest -q --hypothesis-seed=11 --drawn=10 tests/cloud/test_again.py)

.PHONY: host-network
host-network: setup ## hosts' networks: systemd-networkd, netplan, NetworkManager of Debian 12 and 13, over restarts and boots
	$(AS_ROOT) $(BIN)/pytest -q -n 8 tests/hostnet

.PHONY: services-test
services-test: setup ## the calculator's services over HTTP: answers, load, faults, fuzzing, the page in a browser
	@scripts/setup-services
	pytest -q applications/calculator/tests/services

.PHONY: report-test
report-test: setup ## the report in a browser: no request, keyboard, widths, contrast
	@scripts/setup-services
	pytest -q tests/report

.PHONY: bench-services
bench-services: setup ## the services beside the Node.js originals' equivalents
	@scripts/setup-services bench
	python bench/services/compare.py

.PHONY: life
life: setup cloud ## the local cloud itself: its guests, its faults, its hosts, to nothing left
	$(AS_ROOT) pytest -q -m "not full" tests/localcloud

.PHONY: life-full
life-full: setup cloud ## the slow tests of the local cloud, not in `make test`
	$(AS_ROOT) pytest -q -m full tests/localcloud

.PHONY: reconcile reconcile-full
ORDERS := --ignore=tests/cloud/test_operations.py --ignore=tests/cloud/test_applications.py --ignore=tests/cloud/test_examples.py tests/cloud
reconcile: setup ## previews against what then happens, changes of a running topology, the request budget
	$(AS_ROOT) pytest -q -m "not full" --hypothesis-seed=$(SEED) --drawn=$(or $(DRAWN),2) $(ORDERS)

reconcile-full: setup ## the same for more changes, and the request budget of 50 hosts
	$(AS_ROOT) pytest -q -m full $(ORDERS)

.PHONY: applications
applications: setup ## three tiers of nginx, a web application and PostgreSQL, deployed in containers on a local cloud of their own
	$(AS_ROOT) pytest -q tests/cloud/test_applications.py

.PHONY: examples
examples: setup ## each topology of topologies/, deployed once in containers on a local cloud of its own (make examples STUDENTS=5)
	$(AS_ROOT) $(if $(STUDENTS),env STUDENTS=$(STUDENTS)) pytest -q tests/cloud/test_examples.py

.PHONY: operations operations-full
operations: setup ## resize, snapshot, restore and power, on a virtual machine; some operations killed at a write
	$(AS_ROOT) pytest -q -m "not full" tests/cloud/test_operations.py
	$(AS_ROOT) pytest -q tests/faults/test_operations_killed.py --seed=$(FAULTS_SEED) --part=$(FAULTS_PART)

operations-full: setup ## golden images and changes of services, on virtual machines and containers; every operation killed at each write
	$(AS_ROOT) pytest -q -m full tests/cloud/test_operations.py
	$(AS_ROOT) pytest -q tests/faults/test_operations_killed.py --every

.PHONY: faults faults-every
FAULTS_SEED ?= 1
# of the sample one case in so many; make test goes through a quarter of it, as make faults-every goes through all
FAULTS_PART ?= 1
test: FAULTS_PART = 4
faults: setup ## every call to the cloud fails once, in one mode: make faults FAULTS_SEED=7
	$(AS_ROOT) pytest -q tests/faults --seed=$(FAULTS_SEED) --part=$(FAULTS_PART) --ignore=tests/faults/test_operations_killed.py

faults-every: setup ## every call to the cloud fails in every mode, which takes an hour and a half or more
	$(AS_ROOT) pytest -q -s tests/faults --every --ignore=tests/faults/test_operations_killed.py

.PHONY: bench-localcloud
bench-localcloud: setup ## time the local cloud, stage by stage (make bench-localcloud ARGS=--help)
	$(AS_ROOT) $(BIN)/python3 bench/localcloud $(ARGS)

.PHONY: molecule
molecule: setup cloud ## create, converge, verify, reboot, a second run, destroy: on the cloud
	$(MOLECULE)

.PHONY: repair
ifdef LOCAL
# A dozen runs with checks: with emulated virtual machines half an hour.
REPAIR := $(AS_ROOT) env LOCALCLOUD_GUESTS=container LOCALCLOUD_NAME=repair $(PYTHON) -m localcloud
repair: setup ## what a run repairs after a manual change or a kill -9, drift, redeploys: on a local cloud of its own, in containers
	trap '$(REPAIR) clean' EXIT; $(REPAIR) up; OS_CLOUD=netorder-local-repair $(MOLECULE) --scenario-name repair
else
repair: setup ## what a run repairs after a manual change or a kill -9, drift, redeploys
	$(MOLECULE) --scenario-name repair
endif

.PHONY: preview
# only what differs, and without the probes of verify
preview: setup $(PLACE) ## what a run would change, with reason, old and new values; changes nothing (ARGS='-e allow=delete')
	ANSIBLE_DISPLAY_OK_HOSTS=false $(AS_USER) ansible-playbook site.yml --check --diff --skip-tags verify $(ARGS)

.PHONY: drift
drift: setup $(PLACE) ## what differs from the plan, in the cloud and inside the hosts; changes nothing (ARGS='-e format=json')
	$(AS_USER) ansible-playbook playbooks/drift.yml $(ARGS)

.PHONY: verify
verify: setup $(PLACE) ## compare what runs with the plan; changes nothing
	$(AS_USER) ansible-playbook playbooks/verify.yml

.PHONY: teardown
teardown: setup ## delete the topology from the cloud: make teardown CONFIRM=calculator
	$(AS_USER) ansible-playbook playbooks/teardown.yml -e confirm=$(CONFIRM)

.PHONY: cloud
ifdef LOCAL
cloud: cloud-up ## the cloud that OS_CLOUD or OS_* name, else the local one, started
else
cloud:
	@echo "the cloud: $${OS_CLOUD:-$$OS_AUTH_URL}"
endif

.PHONY: cloud-up cloud-down cloud-status cloud-clean
cloud-up: setup ## start the local cloud (a real one-node OpenStack, in .localcloud)
	@$(LOCALCLOUD) up

cloud-down: ## stop the local cloud; keep its state
	@$(LOCALCLOUD) down

cloud-status: ## which services of the local cloud run, which do not and why
	@$(LOCALCLOUD) status

cloud-clean: ## stop the local cloud and remove all of it, with its cache
	@$(LOCALCLOUD) clean --all

.PHONY: containers containers-full
containers: setup application-image build/compose ## the target containers: who reaches what, what is repaired, kills, snapshots, to nothing left
	$(AS_ROOT) $(BIN)/pytest -q -n 6 tests/containers/test_path_mtu.py
	$(AS_ROOT) $(BIN)/pytest -q -n0 -m "not full" --ignore=tests/containers/test_path_mtu.py tests/containers

containers-full: setup container-image ## the calculator on the target containers by its playbooks: twice, drift, teardown; routers that drop all, and by size
	$(AS_ROOT) $(BIN)/pytest -q -n0 -m full tests/containers

.PHONY: application-image
application-image: container-image ## the image of the calculator's five services, for compose files (BASE=another base)
	python -m calculator.build applications/calculator/calculator.pyz
	$(AS_ROOT) podman build --quiet $(if $(BASE),--build-arg BASE=$(BASE)) --tag localhost/netorder/calculator applications/calculator

# podman-compose, for the tests: not in the environment either
build/compose: scripts/compose.lock
	rm -rf $@
	pip install --quiet --disable-pip-version-check --target $@ --requirement $<
	@touch $@

.PHONY: container-image
container-image: setup ## the engine and the image of the target containers (once: a minute or two)
	@scripts/setup-containers
	@$(AS_ROOT) $(PYTHON) -m localcloud.build.container --cache "$(LOCALCLOUD_HOME)/cache"

.PHONY: machine machine-full
machine: setup machine-image ## the target machine: a virtual machine behind a NAT, its ports while it runs, to nothing left
	$(BIN)/pytest -q -n0 -m "not full" tests/machine

machine-full: setup machine-image ## the target machine: repairs, kills, clones; the calculator there by its playbooks
	$(BIN)/pytest -q -n0 -m full tests/machine

.PHONY: machine-image
machine-image: setup ## QEMU and the image of the target machine (once: a minute or two)
	@scripts/setup-machine
	@mkdir -p -m 700 .netorder && mkdir -p .netorder/machine-images
	@$(PYTHON) -m localcloud.export --output .netorder/machine-images \
	|| $(AS_ROOT) $(PYTHON) -m localcloud.export --output .netorder/machine-images --cache "$(LOCALCLOUD_HOME)/cache"

.PHONY: bench-hosts
bench-hosts: setup cloud ## time a run with nothing to do, task by task, beside ordinary modules (make bench-hosts ARGS='--runs 5')
	ansible-playbook site.yml
	bench/hosts $(ARGS)

.PHONY: bench-golden
bench-golden: setup ## a rebuild from golden images beside a first build by roles (make bench-golden ARGS='--guests vm --runs 3')
	$(AS_ROOT) $(BIN)/python3 bench/golden $(ARGS)

.PHONY: bench-targets
# the ways that are not chosen need nothing: bench/targets itself does without these
bench-targets: setup application-image machine-image build/compose build/bench-targets ## every way to run the calculator, measured (make bench-targets ARGS='--ways podman,vm --runs 3')
	@scripts/setup-services load
	$(AS_ROOT) $(BIN)/python3 bench/targets $(ARGS)

# what draws the chart
build/bench-targets: bench/targets_ways/requirements.txt
	rm -rf $@
	pip install --quiet --disable-pip-version-check --target $@ --requirement $<
	@touch $@

.PHONY: bench-plan
bench-plan: setup build/bench ## time and memory of plans of 10, 100, 1,000 hosts, beside the alternatives
	PYTHONPATH=build/bench python bench/plan.py

# not in the environment, which has the versions of requirements.lock and no others
build/bench: bench/requirements.txt
	rm -rf $@
	pip install --quiet --disable-pip-version-check --target $@ --requirement $<
	@touch $@

.PHONY: bench-provision
bench-provision: setup build/bench-provision ## provisioning beside its rivals, on the local cloud (make bench-provision ARGS=--help)
	$(AS_ROOT) $(BIN)/python3 bench/provision $(ARGS)

build/bench-provision: bench/provision/requirements.txt requirements.lock
	rm -rf $@
	pip install --quiet --disable-pip-version-check --target $@ --constraint requirements.lock --requirement $<
	@touch $@

.PHONY: completions
completions: setup build/completions ## write what completes the command in bash, zsh and fish anew
	PYTHONPATH=build/completions python scripts/completions.py

# not in the environment either: what it writes is in the repository, and needs it no more
build/completions: scripts/completions.lock
	rm -rf $@
	pip install --quiet --disable-pip-version-check --target $@ --requirement $<
	@touch $@

.PHONY: docs
docs: setup build/docs ## the documentation as a site, in build/site: no link without a target, no page left out
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=build/docs python -m mkdocs build --strict

# not in the environment either
build/docs: scripts/docs.lock
	rm -rf $@
	pip install --quiet --disable-pip-version-check --target $@ --requirement $<
	@touch $@

.PHONY: clean
clean: ## remove what was made here, except the local cloud
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build
