# Thin lines over uv; `make help` lists them. Nothing is installed outside this folder, but for `make test` as root,
# which installs the Debian packages that tests need (tests/debian-packages.txt).
SHELL := /bin/bash
UV := .tools/bin/uv
RUN := $(UV) run --frozen --no-sync
.DEFAULT_GOAL := help
.PHONY: help demo link test check bench bench-registry bench-rights bench-tls bench-agent wheels deb agent-package faults soak clean setup

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: setup-run  ## Set up and run the whole thing with this machine's own agent; Ctrl-C stops it
	@exec .venv/bin/schoolpulse up --demo

link:  ## A new one-time sign-in link for the demo
	@SP_HOME=$${SP_HOME:-.demo} .venv/bin/schoolpulse link

test: setup tests/debian-packages  ## Set up and run all tests (root: installs the Debian packages they need)
	$(RUN) pytest -n 2 --dist loadfile

check: setup  ## Style, types, import law, agent's Python 3.9, law tests
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) vermin --quiet --no-tips --violations --eval-annotations --target=3.9- agent/schoolpulse_agent
	$(RUN) pytest tests/laws

bench: setup tests/debian-packages  ## Measure all that docs/bench.md lists, into bench/; each alone: bench-registry, -rights, -tls, -agent
	@$(MAKE) --no-print-directory --keep-going bench-registry bench-rights bench-tls bench-agent; \
		missed=$$?; $(RUN) python tests/bench/tables.py; exit $$missed

bench-registry:
	$(RUN) python tests/bench/registry.py

bench-rights:
	$(RUN) python tests/bench/rights.py

bench-tls:
	$(RUN) python tests/bench/tls_connections.py --broker mosquitto --count 5000

bench-agent: setup tests/debian-packages  # a peer that can't be installed is left out, and the run says so
	@tests/debian-packages.sh tests/bench/debian-packages.txt || true
	$(RUN) python tests/bench/agent.py

wheels: setup  ## Build the four wheels into dist/
	rm -rf dist && $(UV) build --all-packages --wheel --out-dir dist --quiet && ls dist

agent-package: setup  ## Pack the agent as an update package into dist/, the same bytes from the same source; then sign it elsewhere
	$(RUN) schoolpulse package build --out dist

deb: setup  ## Build the agent's Debian package into dist/
	$(RUN) python deploy/debian/build.py

faults: setup tests/debian-packages  ## Break everything, ten times each, on every store, and count what is lost: 45 minutes, as root
	$(RUN) python tests/whole/faults.py

soak: faults  ## All faults, then any fault at any time for 10 minutes a store, then what proves that losses are noticed
	$(RUN) python tests/whole/faults.py --monkey 10
	$(RUN) pytest -m soak

setup: $(UV)  ## The development environment in .venv
	@$(UV) sync --frozen --quiet

clean:  ## Remove everything that was made
	rm -rf .venv .tools .demo dist

# The demo needs no test tools; an environment that has them serves as well.
.PHONY: setup-run tests/debian-packages
setup-run: $(UV)
	@test -x .venv/bin/schoolpulse || echo "Setting up, about a minute ..."
	@$(UV) sync --frozen --quiet --no-default-groups --inexact

tests/debian-packages:
	@tests/debian-packages.sh

# pip alone is enough, even where venv is missing and where the system's pip refuses to touch the system.
$(UV):
	@PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --target .tools 'uv==0.13.9'
