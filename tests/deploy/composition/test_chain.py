"""Register, pin, pull, serve and ask through the proxy; then another version, and a backup."""

import re

import psycopg

from tests.deploy.composition.client import RED, ask, by_the_proxy, check_problem, client
from tests.deploy.composition.pins import MODEL, pin, pinned
from tests.deploy.composition.processes import PASSWORD, Composition, run
from tests.deploy.composition.services import start_model


def test_what_was_registered_is_served(made: Composition) -> None:
    response = ask(made.url + "/predict", RED)
    assert response.status_code == 200
    assert response.headers["X-Model-Digest"] == pinned(made).digest
    assert response.headers["Server"] == "nginx"
    (scores,) = response.json()["predictions"]
    assert scores[0]["label"] == "red"
    assert scores[0]["score"] > 0.9
    # It had no bundle: it came from MLflow, through whose server the files went.
    assert re.search(
        r"GET /api/2.0/mlflow-artifacts/artifacts/\S+/serving/model.onnx .* 200", made.log("mlflow")
    )
    assert list((made.own("model") / "tmp/models").rglob("model.onnx"))


def test_tables_are_in_postgresql(made: Composition) -> None:
    with psycopg.connect(made.database("mlflow", PASSWORD)) as connection:
        rows = connection.execute("SELECT name, version FROM model_versions").fetchall()
    assert (MODEL, 1) in rows
    assert not list(made.folder.rglob("*.db"))


def test_a_new_pin_and_a_restart_serve_another_version(made: Composition) -> None:
    before, url = pinned(made), made.url + "/predict"
    pin(made, steepness=6.0)
    assert made.stop("model") == 0
    with client() as session:
        gone = session.post(url, RED, timeout=30)
        check_problem(gone, 503, "not_ready")
        assert by_the_proxy(gone)
        assert gone.headers["Retry-After"] == "5"
        start_model(made)
        # Nobody has told the proxy.
        served = session.post(url, RED, timeout=30)
    assert served.headers["X-Model-Digest"] == pinned(made).digest != before.digest


def test_a_backup_brings_back_what_was_lost(made: Composition) -> None:
    dump, environment = made.folder / "mlflow.dump", made.environment("db")
    # As docs/deploy.md has it.
    options = [*made.by_socket(), "--format=custom", f"--file={dump}"]
    run(["pg_dump", *options, "mlflow"], environment)
    assert PASSWORD.encode() not in dump.read_bytes()
    versions = made.registry + "/api/2.0/mlflow/model-versions/search"
    before = ask(versions).json()["model_versions"]
    with psycopg.connect(made.database("mlflow", PASSWORD)) as connection:
        connection.execute("TRUNCATE registered_models CASCADE")
    assert ask(versions).json() == {}
    options = [*made.by_socket(), "--dbname=mlflow", "--clean", "--if-exists"]
    run(["pg_restore", *options, str(dump)], environment)
    assert ask(versions).json()["model_versions"] == before
