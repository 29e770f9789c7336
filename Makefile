# The one vocabulary of commands: people, CI and the README use the same ones. `make help` lists them.
# Every target does its own set-up (a venv, npm packages) inside this folder; nothing is installed elsewhere.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

STAGE ?= dev
PYTHON ?= python3
BIN := .venv/bin
VENV := .venv/.installed
TOOLS := node_modules/.installed
SITE := frontend/node_modules/.installed
LIGHTHOUSE := tests/e2e/lighthouse
OLD_BROWSERS := tests/e2e/old_browsers
PYTEST := $(BIN)/python -m pytest
CDK := PATH="$(CURDIR)/$(BIN):$$PATH" node_modules/.bin/cdk
OPENAPI := set -o pipefail; $(BIN)/python -m local.openapi
# The local stage is in the running local cloud, any other one in the account of your credentials.
ON_STAGE := $(if $(filter local,$(STAGE)),$(BIN)/python -m local exec --)
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20
# Bytecode is worth seconds to every command (aws-cdk-lib alone 9), but not a folder in every package.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/pycache

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# -- set-up ---------------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(VENV) $(TOOLS) $(SITE) ## Install everything the other targets need (they do it by themselves)

$(VENV): requirements/uv.txt requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "Fanfare needs Python 3.11 or newer: $(PYTHON) was not found. Set PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Fanfare needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Set PYTHON=…"; exit 1; }
	@echo "Installing the Python tools into .venv …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@touch $@

.PHONY: node
node:
	@command -v npm >/dev/null || { echo "Fanfare needs Node.js 20 or newer with npm: npm was not found. See https://nodejs.org"; exit 1; }
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || { echo "Fanfare needs Node.js 20 or newer; this is $$(node -v)."; exit 1; }

$(TOOLS): package.json package-lock.json | node
	@echo "Installing the CDK command line …"
	@npm ci --silent --no-progress
	@touch $@

$(SITE): frontend/package.json frontend/package-lock.json | node
	@echo "Installing the site's packages …"
	@cd frontend && npm ci --silent --no-progress
	@touch $@

$(LIGHTHOUSE)/node_modules/.installed: $(LIGHTHOUSE)/package.json $(LIGHTHOUSE)/package-lock.json | node
	@echo "Installing Lighthouse …"
	@cd $(LIGHTHOUSE) && npm ci --silent --no-progress
	@touch $@

$(OLD_BROWSERS)/node_modules/.installed: $(OLD_BROWSERS)/package.json $(OLD_BROWSERS)/package-lock.json | node
	@echo "Installing old browsers …"
	@cd $(OLD_BROWSERS) && npm ci --silent --no-progress --ignore-scripts
	@touch $@

# -- the local cloud ------------------------------------------------------------------------------------------

.PHONY: run
run: $(VENV) $(TOOLS) $(SITE) ## Run everything on this machine, until Ctrl-C (TWITCH=real: with the real Twitch)
	@exec $(BIN)/python -m local run --twitch $(or $(TWITCH),simulated)

# -- tests ----------------------------------------------------------------------------------------------------

.PHONY: test
test: $(VENV) $(TOOLS) $(SITE) $(OLD_BROWSERS)/node_modules/.installed ## Run every check: lint, unit, integration, infrastructure, e2e, pages
	@echo "Running six suites, three at a time; each prints its output when it has finished."
	@$(MAKE) -j3 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) \
		e2e integration pages infrastructure unit lint
	@echo "All of lint, unit, integration, infrastructure, e2e and pages passed."

# The suites without a running cloud leave the processor to e2e, whose cloud answers within seconds or not at all.
infrastructure integration unit: PYTEST := nice -n 5 $(PYTEST)

.PHONY: lint
lint: $(VENV) $(SITE) ## Check format, rules, types, layering, SQL, workflows, licences, the site's code and its types of the API
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --disable-progress-bar sql
	$(BIN)/mypy
	$(BIN)/actionlint
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/python -m ops.licences
	cd frontend && npm run --silent typecheck && npm run --silent lint
	@$(OPENAPI) | (cd frontend && npm run --silent api-types -- --check >/dev/null) || { echo "frontend/src/api.types.ts is not what the API's description says: run make api-types"; exit 1; }

.PHONY: api-types
api-types: $(VENV) $(SITE) ## Write the site's types of the API anew, from its OpenAPI document
	@$(OPENAPI) | (cd frontend && npm run --silent api-types)

.PHONY: unit
unit: $(VENV) $(SITE) ## Test decisions, without any service: Python and the site
	$(PYTEST) tests/unit
	cd frontend && npm run --silent test

.PHONY: integration
integration: $(VENV) $(TOOLS) $(SITE) ## Test against a real PostgreSQL, simulated AWS calls and a simulated Twitch
	$(PYTEST) -n 2 --dist loadfile tests/integration

.PHONY: stress
stress: $(VENV) ## Do everything to the event store at once for a minute (FANFARE_STRESS_SECONDS), amid kills and crashes
	@$(BIN)/python -m tests.stress

.PHONY: soak
soak: $(VENV) $(TOOLS) $(SITE) ## Start and stop the local cloud 40 times (ROUNDS), under load (.artifacts/soak.json)
	@$(BIN)/python -m tests.soak

.PHONY: chaos
chaos: $(VENV) $(TOOLS) $(SITE) ## Make faults and attacks on a local cloud of its own, and check each guarantee (.artifacts/chaos.json)
	@$(BIN)/python -m tests.chaos

.PHONY: rehearsal
rehearsal: $(VENV) $(TOOLS) $(SITE) ## Rehearse the jobs of deploy.yml in fresh clones against the AWS emulator
	$(PYTEST) -m measured tests/infrastructure/pipeline

.PHONY: rollover
rollover: $(VENV) $(TOOLS) $(SITE) ## Test the deployed local cloud over the ends of some one-minute partitions
	FANFARE_PARTITION_SECONDS=60 FANFARE_RETENTION_SECONDS=60 $(PYTEST) -m measured tests/e2e/test_rollover.py

.PHONY: load
load: $(VENV) $(TOOLS) $(SITE) ## Test the deployed local cloud with a thousand WebSockets, and print how late events are
	$(PYTEST) -s -m measured tests/e2e/test_load.py

.PHONY: flood
flood: $(VENV) $(TOOLS) $(SITE) ## Measure the watch page for a minute at 50 events a second (.artifacts/site/flood.json)
	$(PYTEST) -m measured tests/e2e/site

.PHONY: infrastructure
infrastructure: $(VENV) $(TOOLS) $(SITE) ## Test the synthesised templates and the function packages
	$(PYTEST) tests/infrastructure

.PHONY: e2e
e2e: $(VENV) $(TOOLS) $(SITE) ## Test the deployed local cloud, also in a headless browser (screenshots: .artifacts/)
	$(PYTEST) -n 2 tests/e2e --ignore=tests/e2e/site

.PHONY: pages
pages: $(VENV) $(TOOLS) $(SITE) $(OLD_BROWSERS)/node_modules/.installed ## Test each state of the site's pages in headless browsers (screenshots: .artifacts/)
	$(PYTEST) tests/e2e/site

.PHONY: lighthouse
lighthouse: $(VENV) $(TOOLS) $(SITE) $(LIGHTHOUSE)/node_modules/.installed ## Let Lighthouse judge the deployed local cloud's pages (.artifacts/site/lighthouse.json)
	$(PYTEST) -m measured $(LIGHTHOUSE)

.PHONY: screenshots
screenshots: $(VENV) $(TOOLS) $(SITE) ## Take the documentation's pictures anew, from the deployed local cloud (docs/images)
	$(PYTEST) -m measured tests/e2e/test_pictures.py

.PHONY: bench
bench: $(VENV) $(TOOLS) ## Measure, print a table and write benchmarks/results/*.json
	@$(BIN)/python -m benchmarks

.PHONY: scale
scale: $(VENV) ## Run the scale model of the live path, print a table and write benchmarks/results/scale.json
	@$(BIN)/python -m benchmarks.scale

.PHONY: format
format: $(VENV) $(SITE) ## Rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix --disable-progress-bar sql
	cd frontend && npm run --silent lint -- --fix

# -- AWS ------------------------------------------------------------------------------------------------------

# Where a stage's assembly is: the templates and everything that they deploy. One that is named, as in
# ASSEMBLY=cdk.out/prod, is deployed or compared as it is, not synthesised again.
OUT := $(or $(ASSEMBLY),cdk.out/$(STAGE))

.PHONY: synth
synth: $(VENV) $(TOOLS) $(SITE) ## Synthesise and check the templates of STAGE (dev): cdk.out/STAGE, without credentials
	@rm -rf $(OUT)
	$(CDK) synth --quiet -c stage=$(STAGE) --output $(OUT)
	$(BIN)/cfn-lint --non-zero-exit-code informational $(OUT)/*.template.json

.PHONY: deploy
deploy: $(VENV) $(TOOLS) $(if $(ASSEMBLY),,synth) ## Deploy STAGE (dev), migrations included, to the account of your credentials
	@$(BIN)/python -m ops.deploy $(STAGE) $(OUT)

.PHONY: diff
diff: $(VENV) $(TOOLS) $(if $(ASSEMBLY),,synth) ## Show what deploying STAGE (dev) would change
	@$(CDK) diff --app $(OUT) --method template $(if $(CI),--no-color 2>&1)

.PHONY: pipeline
pipeline: $(VENV) $(TOOLS) ## Deploy the roles with which REPOSITORY's workflows (owner/name) deploy STAGES (dev,prod)
	@$(BIN)/python -m ops.pipeline "$(REPOSITORY)" $(if $(STAGES),--stages $(STAGES)) \
		$(if $(OWNER_ID),--owner-id $(OWNER_ID)) $(if $(REPOSITORY_ID),--repository-id $(REPOSITORY_ID))

.PHONY: bootstrap
bootstrap: $(VENV) $(TOOLS) ## Prepare the account of your credentials for STAGE (dev): once, in each of its Regions
	@$(BIN)/python -m ops.bootstrap $(STAGE)

.PHONY: doctor
doctor: $(VENV) $(TOOLS) ## Check that STAGE (dev) can be deployed, or TWITCH=real run, and say what to do where not
ifeq ($(TWITCH),real)
	@$(BIN)/python -m ops.own_twitch
else
	@$(ON_STAGE) $(BIN)/python -m ops.doctor $(STAGE) $(if $(ON_STAGE),$${FANFARE_STATE_DIR:-.local}/settings.json)
endif

.PHONY: prove-sign-in
prove-sign-in: $(VENV) ## Prove with a user pool of its own that Cognito takes Twitch's answers, before STAGE is deployed
	@$(ON_STAGE) $(BIN)/python -m ops.prove_sign_in $(STAGE) $(if $(ON_STAGE),$${FANFARE_STATE_DIR:-.local}/settings.json)

.PHONY: smoke
smoke: $(VENV) ## Check that the deployed STAGE (dev; local: the running `make run`) does what it is for
	@$(ON_STAGE) $(BIN)/python -m ops.smoke $(STAGE)

.PHONY: redrive
redrive: $(VENV) ## Say what moving the dead letters of QUEUE (record, broadcast, fan-out) back does, and do it once confirmed
	@$(ON_STAGE) $(BIN)/python -m ops.redrive $(STAGE) $(QUEUE)

.PHONY: destroy
destroy: $(VENV) $(TOOLS) ## Say what deleting STAGE (dev) deletes and keeps, and delete it once confirmed
	@$(ON_STAGE) $(BIN)/python -m ops.destroy $(STAGE)

# -- upkeep ---------------------------------------------------------------------------------------------------

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line
.PHONY: lock
lock: $(VENV) ## Pin the Python requirements anew (add UPGRADE=--upgrade for newer versions)
	$(BIN)/$(LOCK) $(UPGRADE) requirements/uv.in -o requirements/uv.txt
	$(BIN)/$(LOCK) $(UPGRADE) lambdas/requirements.in -o lambdas/requirements.txt
	$(BIN)/$(LOCK) $(UPGRADE) requirements/emulator.in -o requirements/emulator.txt
	$(BIN)/$(LOCK) $(UPGRADE) requirements/dev.in -o requirements/dev.txt
	$(BIN)/$(LOCK) $(UPGRADE) requirements/audit.in -o requirements/audit.txt

AUDIT := $(BIN)/uv run --quiet --no-project --isolated --python $(BIN)/python --with-requirements requirements/audit.txt
.PHONY: audit
audit: $(VENV) | node ## Ask for known vulnerabilities of the packages that ship and of the tools
	set -e; for lock in lambdas/requirements.txt requirements/*.txt; do $(AUDIT) pip-audit --strict --require-hashes --disable-pip -r $$lock; done
	npm audit
	npm audit --prefix frontend
	npm audit --prefix $(LIGHTHOUSE)

.PHONY: sbom
sbom: $(VENV) | node ## Write the bills of materials of what ships, functions and site (.artifacts/sbom, CycloneDX)
	@mkdir -p .artifacts/sbom
	$(AUDIT) cyclonedx-py requirements lambdas/requirements.txt --output-reproducible --output-file .artifacts/sbom/functions.json
	$(BIN)/python -m ops.sbom > .artifacts/sbom/site.json

.PHONY: roles
roles: $(VENV) $(TOOLS) $(SITE) ## Write docs/roles.md, the table of every role and what it may do
	@$(BIN)/python -m ops.roles

.PHONY: clean
clean: ## Remove everything that the targets made, the local cloud's data included
	rm -rf .venv .local .build .cache .artifacts cdk.out node_modules frontend/node_modules frontend/dist $(LIGHTHOUSE)/node_modules $(OLD_BROWSERS)/node_modules
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
