# The image with the server and one pinned model. `make image` builds it, `make smoke` tests it as in production.
# No `# syntax=` line: current engines support all instructions used here without downloading a frontend.

# Pinned by digest, for reproducible builds. `--build-arg BASE=...` selects another base; it must have python3 (3.11
# to 3.13) with venv, and CA certificates.
ARG BASE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b


# Packages are installed in a separate stage: pip does not get into the image, and the layer is cached until the lock
# changes.
FROM ${BASE} AS packages

# pip from a virtual environment, because distributions block the system's pip (PEP 668).
RUN ["python3", "-m", "venv", "/opt/pip"]

# Only the locks, so that a change of code does not reinstall packages. `heic` adds the decoder for HEIC images,
# `otel` the export of spans, `follow` the verification of signatures; they agree in the packages that they share.
ARG LOCKS=serving
COPY requirements /build

# --require-hashes: exactly the tested packages. --target: one folder, which later stages copy.
RUN for lock in ${LOCKS}; do set -- "$@" -r "/build/${lock}.txt"; done && \
    /opt/pip/bin/python -m pip install --require-hashes --only-binary :all: \
      --no-cache-dir --disable-pip-version-check --target /opt/packages "$@"

# Removes a third of the size that the server does not use: tests, ONNX Runtime's tools and its C library, which the
# Python module does not load. `make smoke` tests the remaining files.
WORKDIR /opt/packages/onnxruntime
RUN find /opt/packages -type d -name tests -prune -exec rm -r {} + && \
    rm -r capi/libonnxruntime.so* datasets quantization tools transformers
WORKDIR /

# The server's code. Bytecode is compiled here because the file system is read-only at run time.
COPY serving /opt/goldfish/serving
RUN ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/opt/goldfish", "/opt/packages"]


# The model: from the build context if its digest is the pinned one, otherwise downloaded from the registry.
FROM packages AS model

# The name of the pinned model. The registry's URI is passed as a secret, because it may contain a password.
ARG MODEL=digits

# Whether credentials may be sent to the registry over plain http, as for the server.
ARG GOLDFISH_REGISTRY_PLAIN_HTTP=

# The public keys, one of which must have signed the bundle; without them no signature is required. A build argument
# and not a secret: they are public, and another key must not be answered from the build cache.
ARG TRUSTED_KEYS=

# The values of the labels below. The build fails if they differ from the pin.
ARG VERSION
ARG DIGEST

# `models` and `reports` are optional: COPY accepts a pattern without a match if another source exists.
COPY pins model[s] report[s] /context/

# Settings of the module that runs next.
ENV PYTHONPATH=/opt/goldfish:/opt/packages GOLDFISH_PINS=/context GOLDFISH_MODELS_FOLDER=/context GOLDFISH_REPORTS=/context

# Secrets are not stored in layers or the build cache. The build fails unless it gets a bundle with the pinned digest.
RUN --mount=type=secret,id=MLFLOW_TRACKING_URI \
    --mount=type=secret,id=MLFLOW_TRACKING_USERNAME \
    --mount=type=secret,id=MLFLOW_TRACKING_PASSWORD \
    --mount=type=secret,id=MLFLOW_TRACKING_TOKEN \
    for secret in /run/secrets/MLFLOW_TRACKING_*; do \
      if [ -f "${secret}" ]; then export "$(basename "${secret}")_FILE=${secret}"; fi; \
    done; \
    if [ -n "${TRUSTED_KEYS}" ]; then \
      printf '%s\n' "${TRUSTED_KEYS}" > /trusted_keys.pem; export GOLDFISH_TRUSTED_KEYS=/trusted_keys.pem; \
    fi; \
    GOLDFISH_MODEL="${MODEL}" python3 -m serving.artifact.container_contents /baked "${MODEL} ${VERSION} ${DIGEST}"


# The server without a model: it downloads the pinned one at start, into GOLDFISH_MODELS_FOLDER, which must be writable.
FROM ${BASE} AS unbaked

# Ordered by how seldom they change, for the layer cache: packages, code, model.
COPY --from=packages /opt/packages /opt/packages
COPY --from=packages /opt/goldfish /opt/goldfish

# The pins, which name the versions to download.
COPY pins /srv/pins

# No bytecode is written, log lines are not buffered, and the server listens on all interfaces of the container.
ENV PYTHONPATH=/opt/goldfish:/opt/packages \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GOLDFISH_HOST=0.0.0.0 \
    GOLDFISH_MODELS_FOLDER=/tmp/models \
    PORT=5000

# The name of the pinned model, and the pin's commit, which /version shows.
ARG MODEL=digits
ARG PIN_COMMIT=
ENV GOLDFISH_MODEL=${MODEL} GOLDFISH_PIN_COMMIT=${PIN_COMMIT}

# An unprivileged user by number: Kubernetes can verify a number (runAsNonRoot), and /etc/passwd needs no entry.
USER 65532:65532

# Relative paths in settings start here.
WORKDIR /srv

# The default of PORT; EXPOSE is documentation only.
EXPOSE 5000

# Ready means that the golden images gave their recorded predictions. A start takes seconds.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-m", "serving.health"]

# SIGTERM drains the server: it reports not ready, then accepts no new connections, then finishes requests in flight.
STOPSIGNAL SIGTERM

# Exec form, so that Python gets the signals. `docker run <image> serve` is equivalent.
ENTRYPOINT ["python3", "-m", "serving"]


# The published image: `unbaked` plus the model.
FROM unbaked AS server

# Only the files that serving needs. Their digests were verified when they were copied and are verified again at start.
COPY --from=model /baked /srv
ENV GOLDFISH_MODELS_FOLDER=/srv/models

# The model, as compared with the pin by the stage `model`, and the commit of the code.
ARG MODEL=digits
ARG VERSION
ARG DIGEST
ARG REVISION=
LABEL org.opencontainers.image.title="Goldfish" \
      org.opencontainers.image.revision="${REVISION}" \
      model.name="${MODEL}" \
      model.version="${VERSION}" \
      model.digest="${DIGEST}"
