# The image: the server and one pinned model. `make image` builds it, `make smoke` tries it as it is meant to run.
# There is no `# syntax=` line: every engine of these years knows what is used here, and none need fetch a frontend.

# Pinned by digest, so that one commit builds one image. Another one that has python3 (3.11 to 3.13) with venv
# and certificates does too: `--build-arg BASE=...`.
ARG BASE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b


# The packages, in a stage of their own: pip stays behind, and the layer is used again until the lock changes.
FROM ${BASE} AS packages

# pip of an own environment, because distributions forbid the one of the system.
RUN ["python3", "-m", "venv", "/opt/pip"]

# The lock alone, so that a change of code does not install anew. `heic` is `serving` and the decoder of iPhones'
# photos.
ARG LOCK=serving
COPY requirements/${LOCK}.txt /build/lock.txt

# Hashes, so that nothing else than what was tested gets in; a folder that can be copied as a whole.
RUN ["/opt/pip/bin/python", "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", \
     "--no-cache-dir", "--disable-pip-version-check", "--target", "/opt/packages", "-r", "/build/lock.txt"]

# What no server calls, a third of all: tests, the tools of ONNX Runtime, and its library for C programs, which
# the Python module does not load. `make smoke` asks what is left.
WORKDIR /opt/packages/onnxruntime
RUN find /opt/packages -type d -name tests -prune -exec rm -r {} + && \
    rm -r capi/libonnxruntime.so* datasets quantization tools transformers
WORKDIR /

# The server's own code, with bytecode that nobody has to write later: the file system will be read-only.
COPY serving /opt/goldfish/serving
RUN ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/opt/goldfish", "/opt/packages"]


# The model: from the build context if its digest is the pinned one, otherwise pulled from the registry.
FROM packages AS model

# Which pin. Where the registry is comes as a secret, for its address may hold a password.
ARG MODEL=digits

# Whether credentials may travel to it by http, as for the server.
ARG GOLDFISH_REGISTRY_PLAIN_HTTP=

# What the labels below will say; a build that would lie fails.
ARG VERSION
ARG DIGEST

# All contents side by side: `models` need not be there, and a pattern without a match is no error beside others.
COPY pins model[s] report[s] /context/

# For the two modules that are run next.
ENV PYTHONPATH=/opt/goldfish:/opt/packages GOLDFISH_PINS=/context GOLDFISH_MODELS=/context GOLDFISH_REPORTS=/context

# Secrets are in no layer and in no cache. It fails closed: no pinned digest, no image.
RUN --mount=type=secret,id=MLFLOW_TRACKING_URI \
    --mount=type=secret,id=MLFLOW_TRACKING_USERNAME \
    --mount=type=secret,id=MLFLOW_TRACKING_PASSWORD \
    --mount=type=secret,id=MLFLOW_TRACKING_TOKEN \
    for secret in /run/secrets/MLFLOW_TRACKING_*; do \
      if [ -f "${secret}" ]; then export "$(basename "${secret}")_FILE=${secret}"; fi; \
    done; \
    GOLDFISH_MODEL="${MODEL}" python3 -m serving.artifact.image_contents /baked "${MODEL} ${VERSION} ${DIGEST}"


# The server without a model: it pulls the pinned one when it starts, into a folder that must be writable.
FROM ${BASE} AS unbaked

# Packages before code before model: what changes least comes first.
COPY --from=packages /opt/packages /opt/packages
COPY --from=packages /opt/goldfish /opt/goldfish

# The pins alone, for a server that has to ask the registry.
COPY pins /srv/pins

# No bytecode is written; lines of the log appear when they are written; the address is that of a container.
ENV PYTHONPATH=/opt/goldfish:/opt/packages \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GOLDFISH_HOST=0.0.0.0 \
    GOLDFISH_MODELS=/tmp/models \
    PORT=5000

# Which pin, and the commit that /version shows.
ARG MODEL=digits
ARG PIN_COMMIT=
ENV GOLDFISH_MODEL=${MODEL} GOLDFISH_PIN_COMMIT=${PIN_COMMIT}

# Nobody, by number: orchestrators can check a number, and no user database is needed.
USER 65532:65532

# Settings name paths relative to it.
WORKDIR /srv

# What PORT says unless it is set; documentation for people and tools.
EXPOSE 5000

# Ready means that the golden images were answered; it starts within seconds.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-m", "serving.health"]

# The server drains when it hears it: first not ready, then no new connections, then work in flight ends.
STOPSIGNAL SIGTERM

# Exec form, so that signals reach Python. `docker run <image> serve` does the same.
ENTRYPOINT ["python3", "-m", "serving"]


# The image that is published: the same with the model inside.
FROM unbaked AS server

# Only what answers, verified while it was copied; `python -m serving` verifies it again.
COPY --from=model /baked /srv
ENV GOLDFISH_MODELS=/srv/models

# Who is in it, which the build has compared with the pin, and of which commit the code is.
ARG MODEL=digits
ARG VERSION
ARG DIGEST
ARG REVISION=
LABEL org.opencontainers.image.title="Goldfish" \
      org.opencontainers.image.revision="${REVISION}" \
      model.name="${MODEL}" \
      model.version="${VERSION}" \
      model.digest="${DIGEST}"
