# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BOOT := .cache/uv
CLIENTS := .cache/clients
PEERS := .cache/bench
MUTATION := .cache/mutation
UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo $(BOOT)/bin/uv)
PYTHON ?= $(shell command -v python3.11 2>/dev/null || echo python3)
MEMBERS := shared services/fetcher services/solver services/storer services/monitor cli
IMAGES := fetcher solver storer monitor cli
export VIRTUAL_ENV := $(abspath $(VENV))

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

# uv is fetched from the package index when the machine has none.
$(BOOT)/bin/uv:
	$(PYTHON) -m venv $(BOOT)
	$(BOOT)/bin/pip install --quiet uv==$(UV_VERSION)

$(STAMP): requirements/dev.txt $(MEMBERS:%=%/pyproject.toml) | $(filter $(BOOT)/bin/uv,$(UV))
	$(UV) venv --quiet --allow-existing --python 3.11 $(VENV)
	$(UV) pip sync --quiet --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --no-deps --no-build-isolation $(MEMBERS:%=-e %)
	touch $@

.PHONY: install
install: $(STAMP) ## Create .venv with the locked dependencies

.PHONY: lock
lock: | $(filter $(BOOT)/bin/uv,$(UV)) ## Upgrade every dependency and write requirements/ anew
	$(UV) lock --quiet --upgrade
	$(UV) export --quiet --no-header --frozen --no-emit-workspace --all-packages --all-groups --no-group chart -o requirements/dev.txt
	$(UV) export --quiet --no-header --frozen --no-emit-workspace --only-group chart -o requirements/chart.txt
	for name in $(IMAGES); do \
	  $(UV) export --quiet --no-header --frozen --no-emit-workspace --package tidegate-$$name --no-dev -o requirements/$$name.txt; \
	done
	$(UV) pip compile --quiet --upgrade --no-header --generate-hashes --no-emit-index-url --python-version 3.11 \
	  requirements/clients.in -o requirements/clients.txt
	$(UV) pip compile --quiet --upgrade --no-header --generate-hashes --no-emit-index-url --python-version 3.11 \
	  requirements/bench.in -o requirements/bench.txt
	$(UV) pip compile --quiet --upgrade --no-header --generate-hashes --no-emit-index-url --python-version 3.11 \
	  requirements/mutation.in -o requirements/mutation.txt

.PHONY: check
check: $(STAMP) ## Lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(STAMP) ## Mend what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The solving services' public client libraries, for a contract test of the simulated service. They pin other
# versions than we do, so they have an environment of their own.
$(CLIENTS)/.installed: requirements/clients.txt $(STAMP)
	$(UV) venv --quiet --allow-existing --python 3.11 $(CLIENTS)
	$(UV) pip sync --quiet --require-hashes --python $(CLIENTS)/bin/python requirements/clients.txt
	touch $@

.PHONY: clients
clients: $(CLIENTS)/.installed ## Install the vendors' client libraries that a contract test drives

# One for the tests that start whole stacks, which wait more than they compute, and one for the rest.
WORKERS ?= 2
.PHONY: test
test: export TEST_CLIENTS = required
test: $(STAMP) clients ## Every test that needs no Apache Kafka
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not kafka and not chart and not cluster"

.PHONY: test-kafka
test-kafka: $(STAMP) ## Integration tests on real Apache Kafka (needs Java 17 and Maven)
	TEST_KAFKA=required $(BIN)/pytest -m kafka

.PHONY: test-containers
test-containers: $(STAMP) ## The same on images of Kafka and ClickHouse (needs a container engine)
	TEST_CONTAINERS=required $(BIN)/pytest -m containers tests/containers

$(VENV)/.chart: requirements/chart.txt $(STAMP)
	$(UV) pip install --quiet --require-hashes -r requirements/chart.txt
	touch $@

.PHONY: chart
chart: $(VENV)/.chart ## Test the Helm chart: values, renders, policies, formulas
	$(BIN)/pytest -m chart tests/chart

# Any cluster that KUBECONFIG names, with KEDA in it: docs/scaling.md says what it must reach. HELM= and KUBECTL= name
# the programs where they are not on the PATH.
.PHONY: cluster
cluster: $(STAMP) ## Test the chart on a Kubernetes cluster (needs KUBECONFIG, helm, kubectl; KEDA in the cluster)
	TEST_CLUSTER=required $(if $(HELM),HELM=$(HELM)) $(if $(KUBECTL),KUBECTL=$(KUBECTL)) \
	  $(if $(RECORD),TEST_CLUSTER_RECORD=$(abspath $(RECORD))) \
	  $(BIN)/pytest -m cluster tests/cluster

.PHONY: goldens
goldens: $(VENV)/.chart ## Write the chart's golden renders anew, after looking at what changes
	PYTHONPATH=tests $(BIN)/python -m support.goldens

.PHONY: docs
docs: $(STAMP) ## Write the generated pages anew: JSON Schemas, configuration, telemetry, providers, scaling, sizing
	$(BIN)/python -m tidegate.schemas docs/schemas
	$(BIN)/python tools/configuration_docs.py
	$(BIN)/python tools/telemetry_docs.py
	$(BIN)/python tools/solving_docs.py
	$(BIN)/python tools/observability.py
	$(BIN)/python tools/monitor_docs.py
	$(BIN)/python tools/chart_schema.py
	PYTHONPATH=tests $(BIN)/python tools/scaling_docs.py
	$(BIN)/python tools/sizing_docs.py

# What the brief campaign of `make test-kafka` does, for longer: SEED= MINUTES= NODES=1|3 PER_SECOND=.
MINUTES ?= 1
NODES ?= 1
.PHONY: chaos
chaos: $(STAMP) ## Break everything by a seed's schedule and judge what is left (needs Java 17 and Maven)
	PYTHONPATH=tests $(BIN)/python tests/chaos/run.py --minutes $(MINUTES) --nodes $(NODES) \
	  $(if $(SEED),--seed $(SEED)) $(if $(PER_SECOND),--per-second $(PER_SECOND))

# MINUTES=10 unless it is given. Wants two cores of its own.
.PHONY: walls
walls: $(STAMP) ## Queue a million URLs before a solver that is too slow, and judge rates, lags and memory (Java 17, Maven)
	PYTHONPATH=tests $(BIN)/python tests/load/walls.py --minutes $(if $(filter file,$(origin MINUTES)),10,$(MINUTES))

# A million jobs of one site at one a second: the first ten minutes beside a thousand sites, and all of it simulated.
.PHONY: slots
slots: $(STAMP) ## Show that a slow site holds nobody up: MINUTES= (needs Java 17 and Maven)
	PYTHONPATH=tests $(BIN)/python tests/load/slots.py --minutes $(MINUTES)

.PHONY: slots-model
slots-model: $(STAMP) ## The same to its end, twelve days on, in simulated time
	PYTHONPATH=tests $(BIN)/python tests/load/slots_model.py

.PHONY: outages
outages: $(STAMP) ## Take ClickHouse, the broker and the solving service away for a minute each (needs Java 17 and Maven)
	PYTHONPATH=tests $(BIN)/python tests/load/outages.py $(if $(ONLY),--only $(ONLY))

.PHONY: alerts
alerts: $(STAMP) ## Drive four alerts to fire and to clear on the embedded stack
	PYTHONPATH=tests $(BIN)/python tests/load/alerts.py

# Three instances of each service, replaced one by one under load; FROM=COMMIT: upgraded from there, and taken back.
# Wants two cores of its own.
.PHONY: rolling
rolling: $(STAMP) ## Replace every process under load: nothing lost, no group at a standstill for 10 s (Java 17, Maven)
	PYTHONPATH=tests $(BIN)/python tests/load/rolling.py $(if $(FROM),--from $(FROM))

.PHONY: mutants
mutants: $(STAMP) ## Build broken builds in copies of the tree; each must be caught: NAMES=
	PYTHONPATH=tests $(BIN)/python tests/mutants/run.py $(NAMES)

# What changes the sources has an environment of its own. COUNT= is for each module.
$(MUTATION)/.installed: requirements/mutation.txt $(STAMP)
	$(UV) venv --quiet --allow-existing --python 3.11 $(MUTATION)
	$(UV) pip sync --quiet --require-hashes --python $(MUTATION)/bin/python requirements/mutation.txt
	touch $@

.PHONY: mutants-random
mutants-random: $(STAMP) $(MUTATION)/.installed ## Change pure state machines at random; 80 % must be caught: SEED= COUNT=
	PYTHONPATH=tests $(BIN)/python tests/mutants/random_run.py --cosmic-ray $(abspath $(MUTATION))/bin/cosmic-ray \
	  --count $(or $(COUNT),40) $(if $(SEED),--seed $(SEED))

.PHONY: fuzz
fuzz: $(STAMP) ## Let malformed records go through every decoder: SEED= COUNT=
	PYTHONPATH=tests $(BIN)/python tests/fuzz/run.py --count $(or $(COUNT),100000) $(if $(SEED),--seed $(SEED))

# Scrapy, to compare with, has an environment of its own. BENCH= chooses rows, REPETITIONS= how often each is measured.
$(PEERS)/.installed: requirements/bench.txt $(STAMP)
	$(UV) venv --quiet --allow-existing --python 3.11 $(PEERS)
	$(UV) pip sync --quiet --require-hashes --python $(PEERS)/bin/python requirements/bench.txt
	touch $@

.PHONY: bench
bench: $(STAMP) $(PEERS)/.installed ## Measure against peers and limits, write docs/benchmarks.md (BENCH=runtime,fetcher,…)
	PYTHONPATH=tests $(BIN)/python -m bench $(if $(BENCH),--rows $(BENCH)) \
	  $(if $(REPETITIONS),--repetitions $(REPETITIONS))

# Three solvers, two fetchers and a budget on Apache Kafka, with kills forced into purchases: SEED= JOBS= AFFORDABLE=
# KILLS=.
.PHONY: money
money: $(STAMP) ## Prove to the cent what is spent while everything that spends is killed (needs Java 17 and Maven)
	PYTHONPATH=tests $(BIN)/python tests/chaos/money.py $(if $(SEED),--seed $(SEED)) \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(AFFORDABLE),--affordable $(AFFORDABLE)) $(if $(KILLS),--kills $(KILLS))

# Both tools live outside the environment: neither is a dependency. `make audit` asks a public service.
AUDIT := pip-audit==2.10.1
SBOM := cyclonedx-bom==7.5.0
.PHONY: audit
audit: | $(filter $(BOOT)/bin/uv,$(UV)) ## Look every locked dependency up among the known vulnerabilities
	$(UV) tool run --quiet $(AUDIT) --disable-pip --require-hashes $(IMAGES:%=-r requirements/%.txt)

.PHONY: sbom
sbom: | $(filter $(BOOT)/bin/uv,$(UV)) ## Write what each image holds, as CycloneDX, to .cache/sbom
	mkdir -p .cache/sbom
	for name in $(IMAGES); do \
	  $(UV) tool run --quiet --from $(SBOM) cyclonedx-py requirements requirements/$$name.txt \
	    --output-reproducible --of JSON -o .cache/sbom/$$name.json; \
	done

.PHONY: demo
demo: $(STAMP) ## Crawl a demo site, part of it behind CAPTCHAs, on the embedded stack
	$(BIN)/tidegate demo

.PHONY: trace
trace: $(STAMP) ## Run the demo with every trace on and print that of a protected page as a tree
	PYTHONPATH=tests $(BIN)/python tests/e2e/demo_trace.py

.PHONY: up
up: $(STAMP) ## Start the embedded stack and keep it running
	$(BIN)/tidegate up
