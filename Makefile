# `make` lists what there is. Everything runs from .venv, which the first target that needs it makes.
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

up: bootstrap ## start everything and say where; SPAWNER_PORT=8081 moves it
	@$(STACK) up

down: bootstrap ## stop everything but workspaces; data stay in .spawner/
	@$(STACK) down

status: bootstrap ## show each part, its state, uptime and address
	@$(STACK) status

logs: bootstrap ## follow the logs; PART=api for one of them
	@$(STACK) logs

inbox: bootstrap ## show the latest mails of the mail sink with their links
	@$(STACK) inbox

demo: bootstrap ## sign up, launch a workspace and open it, in this terminal
	@$(STACK) demo

compose-images: bootstrap ## make every image of compose.yaml here, where no image registry answers, and say what to write into .env
	$(PYTHON_VENV) -m deploy.compose

clean: bootstrap ## ask, then remove this clone's workspaces, volumes and .spawner/; CLEAN=yes does not ask
	@$(STACK) clean

test: bootstrap ## lint, types, and every test on real parts, beside a running stack
	@$(STACK) prepare
	@$(MAKE) --no-print-directory lint AUDIT=$(AUDIT)
	@sh deploy/stack/newer.sh
	.venv/bin/pytest -n 3 --dist loadscope --no-loadscope-reorder

lint: bootstrap audit ## lint, types, bandit, and the audit of what is locked
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --strict $(CODE)
	.venv/bin/lint-imports
	.venv/bin/bandit -q -c pyproject.toml -r app workers
	@# The stack's scripts are there to run programs. None goes through a shell: that is looked for.
	.venv/bin/bandit -q -c pyproject.toml -r deploy -s B404,B603,B607

audit: bootstrap ## ask for known vulnerabilities of what is locked; AUDIT=if-reachable lets "could not ask" pass
	$(PYTHON_VENV) -m deploy.audit $(AUDIT)

lock: bootstrap ## write both locks anew from pyproject.toml, with the versions that they hold; UPGRADE=--upgrade takes the newest
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

format: bootstrap ## put the code into its format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: bootstrap ## measure everything against its floor, in ten minutes at most; ONLY=burst,reads some of it, ONLY=help says of what
	@$(STACK) prepare
	@ONLY="$(ONLY)" $(PYTHON_VENV) -m bench

bench-peers: bootstrap ## measure JupyterHub with DockerSpawner beside Spawner, from their packages, into the same page
	@$(STACK) prepare
	$(PYTHON_VENV) -m bench.peers

simulation: bootstrap ## measure what 10,000 people and 6,000 workspaces cost the platform, into docs/capacity.md, in about ten minutes
	@$(STACK) prepare
	$(PYTHON_VENV) -m bench.simulation

chaos: bootstrap ## kill every part in turn under load, and count what was lost; CHAOS="--seed 7 --fault api-killed"
	@$(STACK) prepare
	$(PYTHON_VENV) -u -m tests.chaos $(CHAOS)

test-engines: bootstrap ## run the runtime's contract on engines of other Debian releases, as root; ENGINES="--engine podman-5"
	$(PYTHON_VENV) -u -m tests.engines $(ENGINES)

timing: bootstrap ## ask for links a thousand times for each kind of address, and compare the times of the answers
	$(PYTHON_VENV) -m tests.timing

fuzz: bootstrap ## send the proxy malformed requests, FUZZ_CASES=20000 for each way of naming, from FUZZ_SEED=1 on
	FUZZ_CASES=$${FUZZ_CASES:-20000} FUZZ_SECONDS=$${FUZZ_SECONDS:-100} .venv/bin/pytest tests/gateway/proxy/test_fuzz.py -q -s

mutants: bootstrap ## change auth/, gateway/, admission, states and leases in every way and count what no test notices; MUTANTS="--sample 300"
	$(PYTHON_VENV) -u -m tests.mutants $(MUTANTS)

openapi: bootstrap ## write docs/openapi.json anew
	$(PYTHON_VENV) -m app.cli openapi > docs/openapi.json
