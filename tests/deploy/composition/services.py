"""Starts each service as its image does, with the command and the environment of the Compose file."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.composition.document import DEPLOY
from tests.deploy.composition.processes import Composition, restricted, run
from tests.repo.imports import ROOT


def start_db(stack: Composition) -> None:
    """Initialises and starts PostgreSQL as the entry point of its image does."""
    # It refuses root and users without a name.
    user = "postgres" if os.geteuid() == 0 else ""
    environment = stack.environment("db") | {"PGPORT": str(stack.ports["db"])}
    data, tmp = stack.service_folder("db") / "data", stack.service_folder("db") / "tmp"
    secret = Path(environment["POSTGRES_PASSWORD_FILE"]).read_text().strip()
    options = environment["POSTGRES_INITDB_ARGS"].split()
    pwfile = f"--pwfile={stack.folder / 'db_password'}"
    initdb = ["initdb", "--username=postgres", pwfile, *options, "--no-sync", str(data)]
    run([*restricted(user), *initdb], environment)
    # The image listens on all addresses of its private network.
    listen = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={tmp}"]
    stack.start("db", ["postgres", "-D", str(data), *listen], environment, user)
    stack.await_healthy("db", ["pg_isready", "--quiet", "--host=127.0.0.1"], environment)
    psql = ["psql", "--set=ON_ERROR_STOP=1", "--no-password", "--no-psqlrc", *stack.socket_options()]
    run([*psql, f"--file={DEPLOY / 'db.sql'}"], environment | {"POSTGRES_PASSWORD": secret})
    stack.await_healthy("db", stack.services["db"]["healthcheck"]["test"][1:], environment)


def start_mlflow(stack: Composition) -> None:
    """Starts MLflow by the entry point of its image."""
    environment = stack.environment("mlflow") | {
        "PGPASSFILE": str(stack.service_folder("mlflow") / "tmp/pgpass")
    }
    stack.start("mlflow", [str(DEPLOY / "mlflow/entrypoint.sh"), *stack.command("mlflow")], environment)
    check = ["curl", "--fail", "--silent", f"{stack.registry}/health"]
    stack.await_healthy("mlflow", check, environment)


def start_model(stack: Composition, **changed: str) -> None:
    """Starts the model server without a bundle, as in the image without a model; `changed` are variables."""
    environment = stack.environment("model") | {
        "PYTHONPATH": str(ROOT),
        "PORT": str(stack.ports["model"]),
        "GOLDFISH_PINS": str(stack.folder / "pins"),
        "GOLDFISH_MODELS_FOLDER": str(stack.service_folder("model") / "tmp/models"),
        **changed,
    }
    stack.start("model", [sys.executable, "-m", "serving"], environment)
    stack.await_healthy("model", [sys.executable, "-m", "serving.health"], environment)


def start_proxy(stack: Composition, text: str = "", **changed: str) -> None:
    """Starts nginx; its configuration is filled in as its image does.

    `text` replaces the configuration of the file, `changed` replaces variables.
    """
    service = stack.services["proxy"]
    (template,) = [volume["source"] for volume in service["volumes"]]
    environment = stack.environment("proxy") | changed
    names = " ".join(f"${{{name}}}" for name in environment)
    given = text.encode() or (DEPLOY / template).read_bytes()
    filled = subprocess.run(
        ["envsubst", names], input=given, env=environment, capture_output=True, check=True
    )
    (Path(environment["NGINX_ENVSUBST_OUTPUT_DIR"]) / "nginx.conf").write_bytes(filled.stdout)
    stack.start("proxy", stack.command("proxy"), environment, service["user"])
    # Any response will do.
    stack.await_healthy("proxy", ["curl", "--silent", "--output", os.devnull, stack.url], environment)


def await_proxy(stack: Composition) -> None:
    """Waits until requests reach a ready model."""
    check = [stack.to_local("proxy", word) for word in stack.services["proxy"]["healthcheck"]["test"][1:]]
    stack.await_healthy("proxy", check, stack.environment("proxy"))


@contextmanager
def replaced_proxy(stack: Composition, text: str = "", **changed: str) -> Iterator[None]:
    """Replaces the proxy by another one for the duration of a block."""
    stack.stop("proxy")
    start_proxy(stack, text, **changed)
    try:
        yield
    finally:
        stack.stop("proxy")
        start_proxy(stack)
        await_proxy(stack)
