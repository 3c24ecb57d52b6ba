"""How each service starts: what its image does, with the command and the environment of the file."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.composition.document import DEPLOY
from tests.deploy.composition.processes import Composition, restricted, run
from tests.repo.imports import ROOT


def start_db(made: Composition) -> None:
    """PostgreSQL, as the entry point of its image makes and starts it."""
    # It refuses root, and a user without a name.
    user = "postgres" if os.geteuid() == 0 else ""
    environment = made.environment("db") | {"PGPORT": str(made.ports["db"])}
    data, tmp = made.own("db") / "data", made.own("db") / "tmp"
    secret = Path(environment["POSTGRES_PASSWORD_FILE"]).read_text().strip()
    options = environment["POSTGRES_INITDB_ARGS"].split()
    pwfile = f"--pwfile={made.folder / 'db_password'}"
    initdb = ["initdb", "--username=postgres", pwfile, *options, "--no-sync", str(data)]
    run([*restricted(user), *initdb], environment)
    # Its image listens everywhere, and only the network decides who comes.
    listen = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={tmp}"]
    made.start("db", ["postgres", "-D", str(data), *listen], environment, user)
    made.await_healthy("db", ["pg_isready", "--quiet", "--host=127.0.0.1"], environment)
    psql = ["psql", "--set=ON_ERROR_STOP=1", "--no-password", "--no-psqlrc", *made.by_socket()]
    run([*psql, f"--file={DEPLOY / 'db.sql'}"], environment | {"POSTGRES_PASSWORD": secret})
    made.await_healthy("db", made.services["db"]["healthcheck"]["test"][1:], environment)


def start_mlflow(made: Composition) -> None:
    """MLflow, by the entry point of its image."""
    environment = made.environment("mlflow") | {"PGPASSFILE": str(made.own("mlflow") / "tmp/pgpass")}
    made.start("mlflow", [str(DEPLOY / "mlflow/entrypoint.sh"), *made.command("mlflow")], environment)
    check = ["curl", "--fail", "--silent", f"{made.registry}/health"]
    made.await_healthy("mlflow", check, environment)


def start_model(made: Composition) -> None:
    """The model server without a bundle, as the image without a model has it."""
    environment = made.environment("model") | {
        "PYTHONPATH": str(ROOT),
        "PORT": str(made.ports["model"]),
        "GOLDFISH_PINS": str(made.folder / "pins"),
        "GOLDFISH_MODELS": str(made.own("model") / "tmp/models"),
    }
    made.start("model", [sys.executable, "-m", "serving"], environment)
    made.await_healthy("model", [sys.executable, "-m", "serving.health"], environment)


def start_proxy(made: Composition, text: str = "", **changed: str) -> None:
    """nginx, with its configuration filled in as its image does it.

    `text` is another configuration than that of the file, `changed` are other values for it.
    """
    service = made.services["proxy"]
    (template,) = [volume["source"] for volume in service["volumes"]]
    environment = made.environment("proxy") | changed
    names = " ".join(f"${{{name}}}" for name in environment)
    given = text.encode() or (DEPLOY / template).read_bytes()
    filled = subprocess.run(
        ["envsubst", names], input=given, env=environment, capture_output=True, check=True
    )
    (Path(environment["NGINX_ENVSUBST_OUTPUT_DIR"]) / "nginx.conf").write_bytes(filled.stdout)
    made.start("proxy", made.command("proxy"), environment, service["user"])
    # Whatever it answers.
    made.await_healthy("proxy", ["curl", "--silent", "--output", os.devnull, made.url], environment)


def await_proxy(made: Composition) -> None:
    """Waits until a client gets through to a ready model."""
    check = [made.here("proxy", word) for word in made.services["proxy"]["healthcheck"]["test"][1:]]
    made.await_healthy("proxy", check, made.environment("proxy"))


@contextmanager
def another_proxy(made: Composition, text: str = "", **changed: str) -> Iterator[None]:
    """Another proxy in the place of the one that runs, for as long as a block runs."""
    made.stop("proxy")
    start_proxy(made, text, **changed)
    try:
        yield
    finally:
        made.stop("proxy")
        start_proxy(made)
        await_proxy(made)
