# `make` lists the targets. Everything runs from .venv, which the first target that needs it creates.
PYTHON_VENV := .venv/bin/python
STACK := $(PYTHON_VENV) -m deploy.stack
LOCK := $(shell command -v uv || echo .venv/bin/uv) pip compile -q --universal --generate-hashes --no-header --python-version 3.11 $(UPGRADE)
CODE := app workers alembic deploy tests bench

.DEFAULT_GOAL := help
.PHONY: help bootstrap up down status logs inbox demo clean test lint audit lock format compose-images bench bench-peers simulation chaos test-engines fuzz mutants timing openapi

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

bootstrap:
	@sh deploy/stack/bootstrap.sh

up: bootstrap ## start everything and print its address; SPAWNER_PORT=8081 changes the port
	@$(STACK) up

down: bootstrap ## stop everything except workspaces; data stay in .spawner/
	@$(STACK) down

status: bootstrap ## show each part's state, uptime and address
	@$(STACK) status

logs: bootstrap ## follow the logs; PART=api for one part's
	@$(STACK) logs

inbox: bootstrap ## show the mail sink's latest mails, with their links
	@$(STACK) inbox

demo: bootstrap ## sign up, launch a workspace and open it, in this terminal
	@$(STACK) demo

compose-images: bootstrap ## build all images of compose.yaml without an image registry, and print the lines for .env
	$(PYTHON_VENV) -m deploy.compose

clean: bootstrap ## remove this clone's workspaces, volumes and .spawner/, after confirmation; CLEAN=yes skips it
	@$(STACK) clean

test: bootstrap ## lint, type-check, and run all tests on real parts; a running stack is not touched
	@$(STACK) prepare
	@$(MAKE) --no-print-directory lint AUDIT=$(AUDIT)
	@sh deploy/stack/newer.sh
	.venv/bin/pytest -n 3 --dist loadscope --no-loadscope-reorder

lint: bootstrap audit ## lint, type-check, run bandit, and audit the locked packages
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --strict $(CODE)
	.venv/bin/lint-imports
	.venv/bin/bandit -q -c pyproject.toml -r app workers
	@# The stack's scripts run programs, so those checks are skipped; the check for shells is not.
	.venv/bin/bandit -q -c pyproject.toml -r deploy -s B404,B603,B607

audit: bootstrap ## check the locked packages for known vulnerabilities; AUDIT=if-reachable passes without network
	$(PYTHON_VENV) -m deploy.audit $(AUDIT)

lock: bootstrap ## write both lock files from pyproject.toml, keeping versions; UPGRADE=--upgrade takes the newest
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

format: bootstrap ## format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: bootstrap ## run all benchmarks, in ten minutes at most; ONLY=burst,reads runs some, ONLY=help lists them
	@$(STACK) prepare
	@ONLY="$(ONLY)" $(PYTHON_VENV) -m bench

bench-peers: bootstrap ## compare with JupyterHub and DockerSpawner, into docs/performance.md
	@$(STACK) prepare
	$(PYTHON_VENV) -m bench.peers

simulation: bootstrap ## measure the platform's load with 10,000 users and 6,000 workspaces, into docs/capacity.md, in ten minutes
	@$(STACK) prepare
	$(PYTHON_VENV) -m bench.simulation

chaos: bootstrap ## kill each part in turn under load, and count losses; CHAOS="--seed 7 --fault api-killed"
	@$(STACK) prepare
	$(PYTHON_VENV) -u -m tests.chaos $(CHAOS)

test-engines: bootstrap ## run the runtime's contract tests on other engines, as root; ENGINES="--engine podman-5"
	$(PYTHON_VENV) -u -m tests.engines $(ENGINES)

timing: bootstrap ## request a thousand links for each kind of address, and compare response times
	$(PYTHON_VENV) -m tests.timing

fuzz: bootstrap ## send the proxy malformed requests; FUZZ_CASES=20000 for each URL mode, FUZZ_SEED=1
	FUZZ_CASES=$${FUZZ_CASES:-20000} FUZZ_SECONDS=$${FUZZ_SECONDS:-100} .venv/bin/pytest tests/gateway/proxy/test_fuzz.py -q -s

mutants: bootstrap ## mutation-test auth/, gateway/, admission, states and leases; MUTANTS="--sample 300"
	$(PYTHON_VENV) -u -m tests.mutants $(MUTANTS)

openapi: bootstrap ## write docs/openapi.json
	$(PYTHON_VENV) -m app.cli openapi > docs/openapi.json
