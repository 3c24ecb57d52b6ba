# One set of verbs for hand, hook and CI. `make help` lists them.

MODEL ?= digits
PORT ?= 5000
MLFLOW_PORT ?= 5001
PYTHON ?= python3

VENV := .venv
# DVC's stages say `python`: it must be this one, whatever shell runs them.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.pipeline ## build, register, promote and ask a model: make run [MODEL=digits]
	@python -m pipeline run "$(MODEL)"

.PHONY: classify
classify: $(VENV)/.pipeline ## answer one image: make classify IMAGE=<file> [MODEL=digits]
	@$(if $(IMAGE),,$(error Which image? make classify IMAGE=<file>))python -m pipeline classify "$(MODEL)" "$(IMAGE)"

# The commits of the code and of the pin are told only if these are as committed.
COMMIT = $$(git diff --quiet HEAD 2>/dev/null && git rev-parse HEAD)
PIN_COMMIT = $$(git diff --quiet HEAD -- pins/$(MODEL).json 2>/dev/null && git log -1 --format=%H -- pins/$(MODEL).json)

.PHONY: serve
serve: $(VENV)/.serving ## answer HTTP with the pinned model: make serve [MODEL=digits] [PORT=5000]
	@GOLDFISH_MODEL=$(MODEL) GOLDFISH_PIN_COMMIT=$(PIN_COMMIT) PORT=$(PORT) exec python -m serving

IMAGE ?= goldfish-$(MODEL)
# What the image's labels say is what the pin says; the build fails if it is not so.
LABELS = $$(python -c 'import json; pin = json.load(open("pins/$(MODEL).json")); \
	print(*(f"--build-arg {key.upper()}={pin[key]}" for key in ("version", "digest")))')

# Where the registry is may hold a password too, and build arguments stay in the build cache and the image's history.
COMMA := ,
SECRETS = $(foreach name,$(addprefix MLFLOW_TRACKING_,URI USERNAME PASSWORD TOKEN),\
	$(if $(value $(name)),--secret 'id=$(name)$(COMMA)env=$(name)'))

.PHONY: image
image: $(VENV)/.serving ## build the container image with the pinned model: make image [MODEL=digits] [IMAGE=name] [HEIC=yes]
	@DOCKER_BUILDKIT=1 docker build --tag $(IMAGE) $(if $(BASE),--build-arg BASE=$(BASE)) $(SECRETS) $(BUILD_OPTIONS) \
		$(if $(HEIC),--build-arg LOCK=heic) --build-arg MODEL=$(MODEL) \
		--build-arg REVISION=$(COMMIT) --build-arg PIN_COMMIT=$(PIN_COMMIT) $(LABELS) .

.PHONY: smoke
smoke: $(VENV)/.serving ## start the image as it is meant to run, and ask it: make smoke [MODEL=digits] [IMAGE=name]
	@python -m deploy.smoke $(IMAGE) pins/$(MODEL).json

.PHONY: push
push: $(VENV)/.serving ## publish the image under its names: make push REPOSITORY=host/name [IMAGE=name]
	@$(if $(REPOSITORY),,$(error Where to? make push REPOSITORY=ghcr.io/owner/name))python -m deploy.push $(IMAGE) pins/$(MODEL).json $(REPOSITORY)

# A remote that is not in .dvc/config, as CI knows it from a secret, goes where git does not look.
REMOTE = $(if $(DVC_REMOTE),dvc remote add --local --quiet --force --default given "$$DVC_REMOTE" &&)

.PHONY: bundle
bundle: $(VENV)/.pipeline ## have the pinned bundle here: make bundle [MODEL=digits] [STAND_IN=yes]
	@$(REMOTE) python -m pipeline fetch "$(MODEL)" $(if $(STAND_IN),--stand-in)

.PHONY: pinned
pinned: ## say whether the pin is as committed, for CI: pinned=true or pinned=false
	@git diff --quiet HEAD -- pins/$(MODEL).json && echo pinned=true || echo pinned=false

.PHONY: pull
pull: $(VENV)/.pipeline ## fetch data and models from DVC's remote, as far as it has them: make pull [DVC_REMOTE=url]
	@$(REMOTE) dvc pull --allow-missing || echo "What could not be pulled will be built."

.PHONY: evaluate
evaluate: $(VENV)/.pipeline ## run what has changed of the pipeline, up to the figures
	@python -m pipeline reproduce evaluate

.PHONY: register
register: $(VENV)/.pipeline ## register what passed its gate, at MLFLOW_TRACKING_URI or in mlflow.db
	@python -m pipeline reproduce register

.PHONY: stale
stale: $(VENV)/.pipeline ## say whether dvc.lock is what code, params and data say
	@python -m pipeline stale

.PHONY: verify
verify: $(VENV)/.pipeline ## check every digest from the data to the pin: make verify [MODEL=digits]
	@python -m pipeline verify "$(MODEL)"

.PHONY: report
report: $(VENV)/.pipeline ## compare with main, write report.md: make report [AGAINST=main] [PICTURES=no]
	@python -m pipeline report $${AGAINST:+--against="$$AGAINST"} $(if $(filter no,$(PICTURES)),--without-pictures)

.PHONY: mlflow
mlflow: $(VENV)/.pipeline ## show the embedded registry in a browser: make mlflow [MLFLOW_PORT=5001]
	@echo "http://127.0.0.1:$(MLFLOW_PORT)/#/models"
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --host 127.0.0.1 --port $(MLFLOW_PORT) \
		--backend-store-uri sqlite:///mlflow.db --artifacts-destination mlartifacts

# One test process per core (tests/conftest.py distributes the files), each with its own TensorFlow: 1 GB of memory.
PYTEST := python -m pytest -n logical --maxprocesses 8

.PHONY: test
test: $(VENV)/.dev ## set up what the tests need, and run all but the slow group
	@$(PYTEST)

.PHONY: test-slow
test-slow: $(VENV)/.dev ## run only the slow group of tests
	@$(PYTEST) -m slow

.PHONY: test-all
test-all: $(VENV)/.dev ## run all tests, also the slow group: emulated CPUs, soak, Docker, ImageNet
	@$(PYTEST) -m ""

# A project in which `make run MODEL=imagenet` was done, if that was not here.
PROJECT ?= .

.PHONY: bench
bench: $(VENV)/.dev ## measure the server beside its peers, half an hour: make bench [PROJECT=folder]
	@python -m benchmarks.serving --project $(PROJECT)

.PHONY: bench-quick
bench-quick: $(VENV)/.dev ## measure the server beside a tutorial's app, three minutes
	@python -m benchmarks.serving --project $(PROJECT) --quick

.PHONY: bench-sweep
bench-sweep: $(VENV)/.dev ## try processes, slots and threads on one core and two, six minutes
	@python -m benchmarks.serving.sweep --project $(PROJECT)

.PHONY: bench-pipeline
bench-pipeline: $(VENV)/.dev ## measure the stages, evaluation and large samples, four minutes
	@python -m benchmarks.pipeline --project $(PROJECT)

.PHONY: lint
lint: $(VENV)/.dev ## check style and types
	@ruff check . && ruff format --check . && mypy && hadolint Dockerfile deploy/mlflow/Dockerfile
	@zizmor --offline --quiet .github
	@check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

.PHONY: format
format: $(VENV)/.dev ## mend what can be mended of the style
	@ruff check --fix . && ruff format .

# The development lock is made first; the others take its versions, so all three agree. Index addresses are
# left out: they belong to the machine that installs.
COMPILE := uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock" --quiet

.PHONY: lock
lock: $(VENV)/.dev ## renew requirements/*.txt from pyproject.toml, and that of the composition's MLflow
	@$(COMPILE) pyproject.toml --upgrade --extra pipeline --group dev -o requirements/dev.txt
	@$(COMPILE) pyproject.toml --extra pipeline -c requirements/dev.txt -o requirements/pipeline.txt
	@$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/serving.txt
	@$(COMPILE) pyproject.toml --extra heic -c requirements/dev.txt -o requirements/heic.txt
	@$(COMPILE) deploy/mlflow/requirements.in --python-version 3.11 -c requirements/dev.txt \
		-o deploy/mlflow/requirements.txt

.PHONY: clean
clean: ## remove the environment, not the data
	rm -rf $(VENV)

# The marks say from which lock the environment was filled; a changed lock fills it again.
# What is said meanwhile goes to stderr: what some verbs print is for programs.
$(VENV)/.serving: requirements/serving.txt | $(VENV)/.created
	@echo "Installing the server's environment ..." >&2
	@python -m pip install --disable-pip-version-check --require-hashes -r $< >&2
	@touch $@

$(VENV)/.pipeline: requirements/pipeline.txt | $(VENV)/.created
	@echo "Installing the pipeline's environment (2 GB, once) ..." >&2
	@python -m pip install --disable-pip-version-check --require-hashes -r $< >&2
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.pipeline
	@echo "Installing what development adds ..." >&2
	@python -m pip install --disable-pip-version-check --require-hashes -r $< >&2
	@touch $@

# A mark, for an environment that broke off while it was made has a python too.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and \
		f"Goldfish needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is {sys.version.split()[0]}: name another one, make PYTHON=python3.12")'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@
