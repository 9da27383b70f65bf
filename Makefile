# Steam RecSys: the commands. `make help` lists them.

PYTHON ?= python3
LOCAL := local
VENV := .venv
BIN := $(VENV)/bin
# A stamp that carries the checksum of what was installed: it is there, or something has changed.
INSTALLED := $(VENV)/.installed-$(shell cat requirements/dev.txt requirements/uv.txt pyproject.toml | cksum | cut -d' ' -f1)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# One process per core, up to the number for which there is memory: each of them imports TensorFlow.
PYTEST = $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=8 --dist=worksteal

# What the command line names, as DATA=folder, is in the recipes' environment: they take it from there, as "$$DATA", so that
# no shell reads it as a part of a command.

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-docker test test-all lint user explore psql stop images push scan audit licences kind-up kind-demo kind-down golden screenshots docs lock benchmark-quality benchmark-training benchmark-answers benchmark-data benchmark-replay benchmark-explorer clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

NOT_INSTALLED := { echo "make: not everything could be installed, see above: where the package index cannot be reached or lacks a package, name another with PIP_INDEX_URL=URL before the command." >&2; exit 1; }

setup: $(INSTALLED) ## Make the virtual environment from the locked requirements

$(INSTALLED):
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "make: Python 3.11, 3.12 or 3.13 is needed, this is %d.%d: name one with make PYTHON=python3.11." % sys.version_info[:2])'
	@if [ -L $(VENV) ]; then echo "make: $(VENV) leads to another checkout's environment: run make setup there." >&2; exit 1; fi
	@echo "make: installing the locked requirements into $(VENV): TensorFlow, PostgreSQL and the tools, which take 3 GB and some minutes"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt || $(NOT_INSTALLED)
	@# uv does not read pip's settings: it is told of the index that they name.
	@index=$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true); \
	  export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$index}}"; \
	  if [ -z "$$UV_DEFAULT_INDEX" ]; then unset UV_DEFAULT_INDEX; fi; \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt && \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . || $(NOT_INSTALLED)
	@touch $@

demo: setup ## Run the whole loop: on synthetic reviews, or on DATA=folder in the raw layout
	@$(BIN)/python -m demo --place $(LOCAL) run $(if $(DATA),--data "$$DATA")

demo-docker: images ## Run the demo, then again with each task in a container of its image, and compare
	@$(BIN)/python -m demo --place $(LOCAL) containers $(if $(DATA),--data "$$DATA")

test: lint ## Check style and types, and run the tests that need no minutes
	@$(PYTEST) -m "not slow"

test-all: lint ## Check style and types, and run every test
	@$(PYTEST)

lint: setup ## Check style and types
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/python -m mypy
	@output=$$($(BIN)/lint-imports --no-logo) || { echo "$$output"; exit 1; }

# The environment has a USER of its own: who is logged in here, unless the command line names one.
user: setup ## Show a user's recommendations: USER=name or id, RANK_BY=newest, GENRE=Action, DATA=folder
	@$(BIN)/python -m demo --place $(LOCAL) user "$(if $(findstring command,$(origin USER)),$$USER)" $(if $(RANK_BY),--rank-by "$$RANK_BY") $(if $(GENRE),--genre "$$GENRE") $(if $(DATA),--data "$$DATA")

explore: setup ## Look at the demo's recommendations in a browser, until Ctrl-C; EXPLORER_PORT=8600, DATA=folder
	@exec $(BIN)/python -m demo --place $(LOCAL) explore $(if $(DATA),--data "$$DATA")

psql: setup ## Open the database of the last demo that succeeded, or of DATA=folder
	@$(BIN)/python -m demo --place $(LOCAL) psql $(if $(DATA),--data "$$DATA")

stop: ## Stop the demo's database
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m demo --place $(LOCAL) stop; fi

images: setup ## Build the stages' images; REGISTRY=name, CUDA=1, BUILD="options of docker build"
	@$(BIN)/python -m containers build $(if $(REGISTRY),--registry "$$REGISTRY") $(BUILD)

push: setup ## Build the images and push them to REGISTRY=name
	@$(BIN)/python -m containers push $(if $(REGISTRY),--registry "$$REGISTRY") $(BUILD)

scan: setup ## Build the images and look for known vulnerabilities in them
	@$(BIN)/python -m containers scan $(if $(REGISTRY),--registry "$$REGISTRY") $(BUILD)

audit: setup ## Look for known vulnerabilities in the locked requirements of the images
	@$(BIN)/python -m containers audit

licences: setup ## Write docs/licences.md anew, the licences of what the images install
	@$(BIN)/python -m containers licences

kind-up: images ## Create a kind cluster with Kubeflow Pipelines, PostgreSQL and the images
	@deploy/kubeflow/kind-up.sh

kind-demo: setup ## Run the pipelines on the kind cluster
	@deploy/kubeflow/kind-demo.sh

kind-down: ## Remove the kind cluster
	@deploy/kubeflow/kind-down.sh

golden: setup ## Write the golden copies of the compiled pipelines anew, to be reviewed as a diff
	@$(BIN)/python -m tests.pipelines.golden_copies

screenshots: setup ## Take the pictures of docs/explorer.md anew, of the demo on real data
	@SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest tests/explorer/browser/test_screenshots.py

docs: setup ## Build the documentation site into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

lock: setup ## Resolve the requirements anew, with hashes
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --custom-compile-command "make lock" \
	  pyproject.toml --extra model --extra submit --extra explorer --extra benchmark --extra dev --output-file requirements/dev.txt
	@for image in data model model-cuda explorer; do \
	  case $$image in data) extras= ;; model-cuda) extras="--extra model --extra cuda" ;; *) extras="--extra $$image" ;; esac; \
	  $(BIN)/uv pip compile --quiet --universal --generate-hashes --custom-compile-command "make lock" \
	    pyproject.toml $$extras --constraint requirements/dev.txt --output-file requirements/$$image.txt; done

benchmark-quality: setup ## Measure the model beside its baselines on public data in DATA=folder
	@$(BIN)/python -m benchmarks.quality $(if $(DATA),--data "$$DATA")

benchmark-training: setup ## Measure our training loop beside the TFRS tutorial's, and its memory at 10 million interactions
	@$(BIN)/python -m benchmarks.training

benchmark-answers: setup ## Measure how long a user waits for an answer over 100,000 games, beside the SavedModel
	@$(BIN)/python -m benchmarks.answers

benchmark-replay: setup ## Replay a year of real reviews month by month: quality, drift, and the decision to train again
	@$(BIN)/python -m benchmarks.replay $(if $(DATA),--data "$$DATA")

benchmark-data: setup ## Measure extraction, retrieval, prediction, publishing and the whole loop at a large shop's size; PART=loop
	@$(BIN)/python -m benchmarks.data $(if $(PART),--part "$$PART")

benchmark-explorer: setup ## Measure the explorer under load at two million users; needs wrk
	@$(BIN)/python -m benchmarks.explorer

clean: stop ## Remove everything that was installed or made here
	@rm -rf $(VENV) $(LOCAL) build
