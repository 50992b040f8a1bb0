# Everything a developer does. `make` alone lists the targets; nothing but Python 3.11, 3.12 or 3.13 is needed before.

VENV ?= .venv
PORT ?= 8000
TRIALS ?= soak races faults overload fuzz
WORKERS ?= 1
# Not taken from the environment: some shells export HOST as the machine's name.
HOST = 127.0.0.1
# CPU builds of torch, for machines without an NVIDIA GPU. Empty: pip's default registry at once.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

USABLE = import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	"$$python" -c '$(USABLE)' >/dev/null 2>&1 && echo "$$python" && break; done)
BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup serve train test browser checkers test-container bench soak audit lock sbom lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.developing ## make the environment for training, tests and lint
	@echo "ready: $$($(BIN)/python --version), torch $$($(BIN)/python -c 'from importlib.metadata import version as v; print(v("torch"), "with torchvision", v("torchvision"))')"

serve: $(VENV)/.serving ## serve the models of models/; PORT=8000 HOST=127.0.0.1 WORKERS=1
	@echo "serving on http://$(HOST):$(PORT) (documentation: /docs); Ctrl-C stops"
	@exec $(BIN)/python -m service --host $(HOST) --port $(PORT) --workers $(WORKERS)

train: $(VENV)/.developing ## train a model into models/; DATA=folder RECIPE=name ARGS='--network … --epochs …'
	$(BIN)/python -m training fit $(if $(DATA),--data "$(DATA)") $(if $(RECIPE),--recipe $(RECIPE)) $(ARGS)

test: $(VENV)/.developing ## run the tests; ARGS='-k name'
	$(BIN)/python -m pytest $(ARGS)

browser: $(VENV)/.developing ## install a Chromium for the tests of the page, where none is found
	@if $(BIN)/python tests/web/chromium.py >/dev/null; then echo "found $$($(BIN)/python tests/web/chromium.py)"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else $(BIN)/python -m playwright install --with-deps chromium; fi

checkers: ## install Prometheus (promtool) and faketime, which some tests use where they are found
	@if command -v promtool faketime >/dev/null; then echo "found promtool and faketime"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus faketime >/dev/null; \
	else echo "install promtool and faketime yourself; without them some tests are skipped"; fi

test-container: $(VENV)/.developing ## build the image, run it with compose and use it; skipped without a container engine
	bash tests/container/run.sh

bench: $(VENV)/.developing ## compare with other servers under load (needs wrk); ARGS='--only ours,tutorial --quick'
	$(BIN)/python -m benchmarks.serving $(ARGS)

soak: $(VENV)/.developing ## a soak, races, faults, overload (needs wrk), fuzzing: half an hour; TRIALS='soak races'
	@set -e; for trial in $(TRIALS); do echo "$$trial:"; \
		if [ $$trial = fuzz ]; then \
			FUZZ_EXAMPLES=5000 $(BIN)/python -m pytest tests/fuzz/test_properties.py; \
			FUZZ_EXAMPLES=400 $(BIN)/python -m pytest tests/fuzz/test_schemathesis.py; \
		else $(BIN)/python -W ignore -m benchmarks.reliability $$trial; fi; done

audit: $(VENV)/.developing ## look the service's dependencies up among known vulnerabilities
	@$(BIN)/python deploy/audit.py

lock: $(VENV)/.developing ## pin what the images are made of; ARGS='--upgrade', or '--torch 2.14.1'
	@$(BIN)/python deploy/lock.py --index "$(TORCH_INDEX)" $(ARGS)

sbom: $(VENV)/.developing ## write build/sbom.json, a CycloneDX SBOM of the image stride, or of the environment
	@$(BIN)/python deploy/sbom.py --image stride --output build/sbom.json

lint: $(VENV)/.developing ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy deploy
	bash -n .ci/run && bash -n tests/container/run.sh
	$(BIN)/hadolint Dockerfile
	@if docker compose version >/dev/null 2>&1; then for file in "" "-f deploy/compose.cuda.yml"; do \
		docker compose -f docker-compose.yml $$file --profile '*' config --quiet; done; \
	else echo "docker has no compose here: its files are not checked"; fi
	@if command -v promtool >/dev/null; then cd deploy/observability && promtool check config prometheus.yml; fi

format: $(VENV)/.developing ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and what tools left behind; models, data and runs stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build stride.egg-info
	find service training tests deploy -name __pycache__ -prune -exec rm -rf {} +

# A finished step leaves its stamp in the environment, so that nothing is done twice.
$(VENV)/.created:
	@python="$(PYTHON)"; "$$python" -c '$(USABLE)' 2>/dev/null || { \
		echo "No Python 3.11, 3.12 or 3.13 with venv was found. Install one (Debian, Ubuntu: apt install python3-venv)," \
			"or name it: make PYTHON=/path/to/python3.13 …" >&2; exit 1; }; \
	echo "creating $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv "$(VENV)"
	@touch $@

# The pair first and in one go, for serving too: what is installed later then finds it in place.
$(VENV)/.torch: pyproject.toml deploy/install_torch.py | $(VENV)/.created
	@$(BIN)/python deploy/install_torch.py --with-torchvision --index "$(TORCH_INDEX)"
	@touch $@

$(VENV)/.serving: pyproject.toml $(VENV)/.torch
	@echo "installing the service"
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.developing: pyproject.toml $(VENV)/.torch
	@echo "installing the service with its extras, training and the tools for tests and lint"
	@$(PIP_INSTALL) -e '.[training,tracing,cluster,test,bench,audit]'
	@touch $(VENV)/.serving $@
