# The commands for developers, hooks and CI. `make help` lists them.

MODEL ?= digits
PORT ?= 5000
MLFLOW_PORT ?= 5001
PYTHON ?= python3

VENV := .venv
# DVC's stages call `python`, which must be the environment's.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.pipeline ## build, register and promote a model, and classify an image with it: make run [MODEL=digits]
	@python -m pipeline run "$(MODEL)"

# Options of `inspect` that are files: make inspect FILE=my.keras PHOTOS=folder LABELS=classes.txt
.PHONY: inspect
inspect: $(VENV)/.pipeline ## look into a model file: make inspect FILE=<file> [PHOTOS=<folder>] [LABELS=<file>] [WRITE=yes]
	@$(if $(FILE),,$(error Which file? make inspect FILE=<file>))python -m pipeline inspect "$(FILE)" \
		$(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(LABELS),--labels "$(LABELS)") $(if $(WRITE),--write) $(OPTIONS)

.PHONY: classify
classify: $(VENV)/.pipeline ## classify one image: make classify IMAGE=<file> [MODEL=digits]
	@$(if $(IMAGE),,$(error Which image? make classify IMAGE=<file>))python -m pipeline classify "$(MODEL)" "$(IMAGE)"

# The commits of code and pin; empty if there are uncommitted changes.
COMMIT = $$(git diff --quiet HEAD 2>/dev/null && git rev-parse HEAD)
PIN_COMMIT = $$(git diff --quiet HEAD -- pins/$(MODEL).json 2>/dev/null && git log -1 --format=%H -- pins/$(MODEL).json)

.PHONY: serve
serve: $(VENV)/.serving ## serve the pinned model over HTTP: make serve [MODEL=digits] [PORT=5000]
	@GOLDFISH_MODEL=$(MODEL) GOLDFISH_PIN_COMMIT=$(PIN_COMMIT) PORT=$(PORT) exec python -m serving

# INPUT and OUT may be addresses; OPTIONS are those of `python -m scoring`.
.PHONY: score
score: $(if $(filter ray,$(ENGINE)),$(VENV)/.ray,$(VENV)/.scoring) ## classify many images: make score INPUT=<folder> OUT=<folder> [MODEL=digits] [ENGINE=ray] [OPTIONS="..."]
	@$(if $(and $(INPUT),$(OUT)),,$(error From where, and where to? make score INPUT=<folder> OUT=<folder>))python -m scoring \
		"$(MODEL)" "$(INPUT)" --out "$(OUT)" $(if $(ENGINE),--engine $(ENGINE)) $(OPTIONS)

IMAGE ?= goldfish-$(MODEL)
# The image's labels come from the pin; the build fails if they differ from it.
LABELS = $$(python -c 'import json; pin = json.load(open("pins/$(MODEL).json")); \
	print(*(f"--build-arg {key.upper()}={pin[key]}" for key in ("version", "digest")))')

# The registry's URI and credentials are passed as secrets: build arguments stay in the image's history and the cache.
COMMA := ,
SECRETS = $(foreach name,$(addprefix MLFLOW_TRACKING_,URI USERNAME PASSWORD TOKEN),\
	$(if $(value $(name)),--secret 'id=$(name)$(COMMA)env=$(name)'))

# Public keys of which one must have signed the bundle; several files are separated by commas.
KEY_FILES = $(subst $(COMMA), ,$(TRUSTED_KEYS))

.PHONY: image
image: $(VENV)/.serving ## build the image with the pinned model: make image [MODEL=digits] [IMAGE=name] [HEIC=yes] [OTEL=yes] [TRUSTED_KEYS=key.pub]
	@for file in $(KEY_FILES); do grep -q "PUBLIC KEY" "$$file" || { echo "$$file is no file of public keys" >&2; exit 1; }; done
	@DOCKER_BUILDKIT=1 docker build --tag $(IMAGE) $(if $(BASE),--build-arg BASE=$(BASE)) $(SECRETS) $(BUILD_OPTIONS) \
		--build-arg LOCKS="$(strip serving $(if $(HEIC),heic) $(if $(OTEL),otel) $(if $(KEY_FILES),follow))" --build-arg MODEL=$(MODEL) \
		$(if $(KEY_FILES),--build-arg TRUSTED_KEYS="$$(cat $(KEY_FILES))") \
		--build-arg REVISION=$(COMMIT) --build-arg PIN_COMMIT=$(PIN_COMMIT) $(LABELS) .

.PHONY: smoke
smoke: $(VENV)/.serving ## start the image as in production and test it: make smoke [MODEL=digits] [IMAGE=name]
	@python -m deploy.smoke $(IMAGE) pins/$(MODEL).json

.PHONY: push
push: $(VENV)/.serving ## push the image under its tags: make push REPOSITORY=host/name [IMAGE=name]
	@$(if $(REPOSITORY),,$(error Where to? make push REPOSITORY=ghcr.io/owner/name))python -m deploy.push $(IMAGE) pins/$(MODEL).json $(REPOSITORY)

OVERLAY ?= plain

.PHONY: pin-image
pin-image: ## write the image that Kubernetes gets: make pin-image REPOSITORY=host/name DIGEST=sha256:...
	@$(if $(and $(REPOSITORY),$(DIGEST)),,$(error Which image? make pin-image REPOSITORY=ghcr.io/owner/name DIGEST=sha256:...))$(PYTHON) -m deploy.manifests pin "$(REPOSITORY)" "$(DIGEST)"

.PHONY: manifests
manifests: ## print the manifests for Kubernetes: make manifests [OVERLAY=plain|kserve|knative]
	@$(PYTHON) -m deploy.manifests render "$(OVERLAY)"

# DVC_REMOTE, which CI takes from a secret, is written to .dvc/config.local, which git ignores.
REMOTE = $(if $(DVC_REMOTE),dvc remote add --local --quiet --force --default given "$$DVC_REMOTE" &&)

.PHONY: bundle
bundle: $(VENV)/.pipeline ## fetch or rebuild the pinned bundle: make bundle [MODEL=digits] [STAND_IN=yes]
	@$(REMOTE) python -m pipeline fetch "$(MODEL)" $(if $(STAND_IN),--stand-in)

.PHONY: rebuild
rebuild: $(VENV)/.pipeline ## build the last commit again from nothing and compare with the pin: make rebuild [MODEL=digits]
	@python -m pipeline rebuild "$(MODEL)"

.PHONY: pinned
pinned: ## print whether the pin is unchanged since the last commit, for CI: pinned=true or pinned=false
	@git diff --quiet HEAD -- pins/$(MODEL).json && echo pinned=true || echo pinned=false

.PHONY: pull
pull: $(VENV)/.pipeline ## download the data and models that the DVC remote has: make pull [DVC_REMOTE=url]
	@$(REMOTE) dvc pull --allow-missing || echo "Files that could not be pulled will be built."

.PHONY: evaluate
evaluate: $(VENV)/.pipeline ## run the changed stages, up to evaluate
	@python -m pipeline reproduce evaluate

.PHONY: register
register: $(VENV)/.pipeline ## register the models that passed their gate, at MLFLOW_TRACKING_URI or in mlflow.db
	@python -m pipeline reproduce register

.PHONY: stale
stale: $(VENV)/.pipeline ## check whether dvc.lock matches code, params and data
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

# tests/conftest.py says how many processes there are, and distributes the files over them.
PYTEST := python -m pytest -n logical

.PHONY: test
test: $(VENV)/.dev ## set up what the tests need, and run all but the slow group
	@$(PYTEST)

.PHONY: test-slow
test-slow: $(VENV)/.dev ## run only the slow group of tests
	@$(PYTEST) -m slow

.PHONY: test-all
test-all: $(VENV)/.dev ## run all tests, also the slow group: emulated CPUs, soak, Docker, ImageNet
	@$(PYTEST) -m ""

# The project whose models are measured; `make run MODEL=imagenet` must have run in it.
PROJECT ?= .

.PHONY: bench
bench: $(VENV)/.dev ## compare the server with other servers, forty minutes: make bench [PROJECT=folder]
	@python -m benchmarks.serving --project $(PROJECT)

.PHONY: bench-quick
bench-quick: $(VENV)/.dev ## compare the server with a tutorial's Flask app, three minutes
	@python -m benchmarks.serving --project $(PROJECT) --quick

.PHONY: bench-digits
bench-digits: $(VENV)/.dev ## compare it with other servers with a small model, digits, half an hour
	@python -m benchmarks.serving --project $(PROJECT) --model digits

.PHONY: bench-sweep
bench-sweep: $(VENV)/.dev ## compare numbers of processes, slots and threads on one core and two, six minutes
	@python -m benchmarks.serving.sweep --project $(PROJECT)

.PHONY: bench-live
bench-live: $(VENV)/.dev ## measure changes of the version, trials and workers, three minutes
	@python -m benchmarks.live --project $(PROJECT)

.PHONY: bench-scoring
bench-scoring: $(VENV)/.dev ## measure bulk scoring, nine minutes
	@python -m benchmarks.scoring --project $(PROJECT)

.PHONY: bench-pipeline
bench-pipeline: $(VENV)/.dev ## measure the stages, evaluation and large samples, four minutes
	@python -m benchmarks.pipeline --project $(PROJECT)

.PHONY: lint
lint: $(VENV)/.dev ## check style and types
	@ruff check . && ruff format --check . && mypy && hadolint Dockerfile deploy/mlflow/Dockerfile deploy/scoring/Dockerfile
	@zizmor --offline --quiet .github
	@check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	@rendered=$$(kubectl kustomize --load-restrictor=LoadRestrictionsNone deploy/kubernetes/plain) && \
		echo "$$rendered" | kubernetes-validate --strict --quiet -

.PHONY: format
format: $(VENV)/.dev ## format the code and fix lint errors where possible
	@ruff check --fix . && ruff format .

# The development lock is resolved first and constrains the others, so all versions agree. Index addresses are left
# out: they depend on the machine that installs.
COMPILE := uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock" --quiet

.PHONY: lock
lock: $(VENV)/.dev ## update requirements/*.txt from pyproject.toml, and the lock of deploy/mlflow
	@$(COMPILE) pyproject.toml --upgrade --extra pipeline --extra ray --extra otel --group dev -o requirements/dev.txt
	@$(COMPILE) pyproject.toml --extra pipeline -c requirements/dev.txt -o requirements/pipeline.txt
	@$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/serving.txt
	@for extra in heic follow otel scoring ray; do \
		$(COMPILE) pyproject.toml --extra $$extra -c requirements/dev.txt -o requirements/$$extra.txt || exit 1; done
	@$(COMPILE) deploy/mlflow/requirements.in --python-version 3.11 -c requirements/dev.txt \
		-o deploy/mlflow/requirements.txt
	@python requirements/name_extras.py requirements/dev.txt requirements/pipeline.txt

.PHONY: clean
clean: ## remove the virtual environment; data and models stay
	rm -rf $(VENV)

# Marker files: a lock that is newer than its marker is installed again. Messages go to stderr, because programs read
# the output of some commands.
$(VENV)/.serving: requirements/serving.txt | $(VENV)/.created
	@echo "Installing the server's environment ..." >&2
	@python -m pip install --disable-pip-version-check --require-hashes -r $< >&2
	@touch $@

$(VENV)/.scoring $(VENV)/.ray: $(VENV)/.%: requirements/%.txt | $(VENV)/.created
	@echo "Installing what bulk scoring needs ..." >&2
	@python -m pip install --disable-pip-version-check --require-hashes -r $< >&2
	@touch $@

$(VENV)/.pipeline: requirements/pipeline.txt | $(VENV)/.created
	@echo "Installing the pipeline's environment (2 GB, once) ..." >&2
	@python -m pip install --disable-pip-version-check --require-hashes -r $< >&2
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.pipeline
	@echo "Installing the development tools ..." >&2
	@python -m pip install --disable-pip-version-check --require-hashes -r $< >&2
	@touch $@

# A marker file, because an interrupted `python -m venv` may leave a python too.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and \
		f"Goldfish needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is {sys.version.split()[0]}: name another one, make PYTHON=python3.12")'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@
