# Steam RecSys: the commands. `make help` lists them.

# Recipes read variables of the command line, such as DATA=folder, from the environment, as "$$DATA", so that no shell
# interprets them. Make would expand them and run what $(shell …) in them says, so each is first replaced by its literal
# text.
override GIVEN := $(strip $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name))))
override INPUTS := DATA NIGHTS USER RANK_BY GENRE SHELVES REGISTRY BUILD PLATFORMS PART SIZE BOARD CUDA PYTHON_IMAGE EXPLORER_PORT PYTHON
# Two statements, because macOS has GNU make 3.81, which takes no two modifiers in one.
define LITERAL
override $(1) := $$(value $(1))
export $(1)
endef
$(foreach name,$(sort $(GIVEN) $(INPUTS)),$(if $(filter-out undefined default file,$(origin $(name))),$(eval $(call LITERAL,$(name)))))

PYTHON ?= python3
LOCAL := local
VENV := .venv
BIN := $(VENV)/bin
# A stamp file named by the checksum of the requirements: if it is missing, they have changed.
INSTALLED := $(VENV)/.installed-$(shell cat requirements/dev.txt requirements/uv.txt pyproject.toml | cksum | cut -d' ' -f1)
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Images for development often set it. Without bytecode, each of a hundred processes would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# One process more than cores, because many tests wait for servers; at most eight, because each imports TensorFlow.
PARALLEL = --numprocesses=$(shell $(BIN)/python -c "import os; print(min(8, 1 + (os.cpu_count() or 1)))") --dist=loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-docker test test-all lint user explore notebook psql stop images push scan audit sbom licences pin-images lock-terraform kind-up kind-demo kind-check kind-open kind-close kind-down golden examples screenshots docs lock benchmark-quality benchmark-training benchmark-answers benchmark-data benchmark-replay benchmark-hourly benchmark-explorer clean

help: ## List the commands
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5) ":"} /^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

NOT_INSTALLED := { echo "make: the installation failed, see above: if the package index cannot be reached or lacks a package, put PIP_INDEX_URL=URL of another one before the command." >&2; exit 1; }

##@ Try it

demo: setup ## Run the whole loop on synthetic reviews, or on DATA=folder in the raw layout; NIGHTS=1 is shorter
	@$(BIN)/python -m demo --workspace $(LOCAL) run $(if $(DATA),--data "$$DATA") $(if $(NIGHTS),--nights "$$NIGHTS")

# USER counts only from the command line; the environment's USER is the login name.
user: setup ## Show a user's recommendations: USER=name or id, RANK_BY=newest, GENRE=Action, SHELVES=1, DATA=folder
	@$(BIN)/python -m demo --workspace $(LOCAL) user "$(if $(filter USER,$(GIVEN)),$$USER)" $(if $(RANK_BY),--rank-by "$$RANK_BY") $(if $(GENRE),--genre "$$GENRE") $(if $(SHELVES),--shelves) $(if $(DATA),--data "$$DATA")

explore: setup ## Serve the demo's recommendations at http://127.0.0.1:8600, until Ctrl-C; EXPLORER_PORT=8600, DATA=folder
	@exec $(BIN)/python -m demo --workspace $(LOCAL) explore $(if $(DATA),--data "$$DATA")

notebook: setup ## Open copies of the notebooks of examples/ in a browser, on the last demo or on DATA=folder's, until Ctrl-C
	@exec $(BIN)/python -m demo --workspace $(LOCAL) notebook $(if $(DATA),--data "$$DATA")

psql: setup ## Open the database of the last successful demo, or of DATA=folder
	@$(BIN)/python -m demo --workspace $(LOCAL) psql $(if $(DATA),--data "$$DATA")

stop: ## Stop the demo's database
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m demo --workspace $(LOCAL) stop; fi

demo-docker: images ## Run the demo, run it again with each task in a container, and compare
	@$(BIN)/python -m demo --workspace $(LOCAL) containers $(if $(DATA),--data "$$DATA")

##@ Develop

setup: $(INSTALLED) ## Create the virtual environment from the locked requirements

$(INSTALLED):
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "make: this is Python %d.%d, but 3.11, 3.12 or 3.13 is required: choose one, such as make PYTHON=python3.11." % sys.version_info[:2])'
	@if [ -L $(VENV) ]; then echo "make: $(VENV) is a link to another checkout's environment: run make setup there." >&2; exit 1; fi
	@echo "make: installing the locked requirements into $(VENV): TensorFlow, PostgreSQL and the tools, which takes 3 GB and some minutes"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt || $(NOT_INSTALLED)
	@# uv does not read pip's settings, so it gets the index from here.
	@index=$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true); \
	  export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$index}}"; \
	  if [ -z "$$UV_DEFAULT_INDEX" ]; then unset UV_DEFAULT_INDEX; fi; \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt && \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . || $(NOT_INSTALLED)
	@touch $@

test: lint ## Check style and types, and run the fast tests
	@$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-all: test ## Check style and types, and run every test
	@$(BIN)/python -m pytest -m slow --numprocesses=4 --dist=loadscope --no-loadscope-reorder

lint: setup ## Check style and types
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/python -m mypy
	@output=$$($(BIN)/lint-imports --no-logo) || { echo "$$output"; exit 1; }

golden: setup ## Regenerate the golden copies of the compiled pipelines, for review as a diff
	@$(BIN)/python -m tests.pipelines.golden_copies

docs: setup ## Build the documentation site into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

examples: setup ## Execute the notebooks of examples/ on the synthetic shop, and keep their outputs
	@EXAMPLES=examples $(BIN)/python -m pytest tests/examples

screenshots: setup ## Retake the screenshots of docs/screenshots.md, of the demo on real data
	@SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest tests/explorer/browser/test_screenshots.py

lock: setup ## Resolve and lock the requirements, with hashes
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --custom-compile-command "make lock" \
	  pyproject.toml --extra model --extra submit --extra explorer --extra benchmark --extra notebook --extra dev --output-file requirements/dev.txt
	@for image in data model model-cuda explorer; do \
	  case $$image in data) extras= ;; model-cuda) extras="--extra model --extra cuda" ;; *) extras="--extra $$image" ;; esac; \
	  $(BIN)/uv pip compile --quiet --universal --generate-hashes --custom-compile-command "make lock" \
	    pyproject.toml $$extras --constraint requirements/dev.txt --output-file requirements/$$image.txt; done

clean: stop ## Remove everything that these commands installed or created
	@rm -rf $(VENV) $(LOCAL) build

##@ Images

images: setup ## Build the stages' images; REGISTRY=name, CUDA=1, BUILD="options of docker build"
	@set -f; $(BIN)/python -m containers build $(if $(REGISTRY),--registry "$$REGISTRY") $$BUILD

push: setup ## Build the images and push them to REGISTRY=name
	@set -f; $(BIN)/python -m containers push $(if $(REGISTRY),--registry "$$REGISTRY") $$BUILD

scan: setup ## Build the images and scan them for known vulnerabilities
	@set -f; $(BIN)/python -m containers scan $(if $(REGISTRY),--registry "$$REGISTRY") $$BUILD

audit: setup ## Check the images' locked requirements for known vulnerabilities
	@$(BIN)/python -m containers audit

sbom: setup ## List what each image contains, in CycloneDX, in build/sbom; REGISTRY=name, CUDA=1
	@$(BIN)/python -m containers sbom $(if $(REGISTRY),--registry "$$REGISTRY")

licences: setup ## Regenerate docs/licences.md, the licences of the images' packages
	@$(BIN)/python -m containers licences

pin-images: setup ## Write the current digests of the fetched images into all files that name them, for review as a diff
	@$(BIN)/python -m containers pin

##@ Clusters

kind-up: images ## Create a kind cluster with Kubeflow Pipelines, PostgreSQL, the images and the explorer
	@deploy/kubeflow/kind-up.sh

kind-demo: setup ## Run the pipelines on the kind cluster
	@deploy/kubeflow/kind-demo.sh

kind-check: setup ## Check a failed run, a retry and a schedule on the kind cluster, after make kind-demo
	@deploy/kubeflow/kind-check.sh

kind-open: ## Open Kubeflow Pipelines and the explorer of the kind cluster on free ports
	@deploy/kubeflow/kind-open.sh

kind-close: ## Close the ports of make kind-open
	@deploy/kubeflow/kind-close.sh

kind-down: ## Remove the kind cluster
	@deploy/kubeflow/kind-down.sh

lock-terraform: ## Lock Terraform's providers with their hashes, in deploy/vertex/.terraform.lock.hcl
	@terraform -chdir=deploy/vertex providers lock -platform=linux_amd64 -platform=linux_arm64 -platform=darwin_arm64

##@ Benchmarks

benchmark-quality: setup ## Compare the model with its baselines on public data in DATA=folder; BOARD=name for one board
	@$(BIN)/python -m benchmarks.quality $(if $(DATA),--data "$$DATA") $(if $(BOARD),--board "$$BOARD")

benchmark-training: setup ## Compare our training loop with the TFRS tutorial's; memory at 10 million interactions
	@$(BIN)/python -m benchmarks.training

benchmark-answers: setup ## Compare the wait for recommendations from 100,000 games with the SavedModel's
	@$(BIN)/python -m benchmarks.answers

benchmark-replay: setup ## Replay a year of the reviews in DATA=folder: quality, drift and retraining per month
	@$(BIN)/python -m benchmarks.replay $(if $(DATA),--data "$$DATA")

benchmark-hourly: setup ## Replay a month of the reviews in DATA=folder with hourly refreshes
	@$(BIN)/python -m benchmarks.hourly $(if $(DATA),--data "$$DATA")

benchmark-data: setup ## Measure ingestion, extraction, retrieval, publishing, the loop and more at a large shop's size; PART=loop, SIZE=50m
	@$(BIN)/python -m benchmarks.record $(if $(PART),--part "$$PART") $(if $(SIZE),--size "$$SIZE")

benchmark-explorer: setup ## Measure the explorer under load at two million users; needs wrk
	@$(BIN)/python -m benchmarks.explorer
