"""Register, pin, pull, serve, and predict through the proxy; then another version, and a backup."""

import re
import time
from dataclasses import replace

import psycopg

from serving.artifact.pin import Pin
from tests.deploy.composition.client import RED, check_problem, client, from_nginx, request
from tests.deploy.composition.pins import MODEL, pin, pinned
from tests.deploy.composition.processes import PASSWORD, Composition, run
from tests.deploy.composition.services import await_proxy, start_model
from tests.serving.registries import connect, register_bundle
from tests.serving.servers import await_true


def test_what_was_registered_is_served(stack: Composition) -> None:
    response = request(stack.url + "/predict", RED)
    assert response.status_code == 200
    assert response.headers["X-Model-Digest"] == pinned(stack).digest
    assert response.headers["Server"] == "nginx"
    (scores,) = response.json()["predictions"]
    assert scores[0]["label"] == "red"
    assert scores[0]["score"] > 0.9
    # The server had no bundle: it pulled the files through MLflow's server.
    assert re.search(
        r"GET /api/2.0/mlflow-artifacts/artifacts/\S+/serving/model.onnx .* 200", stack.log("mlflow")
    )
    assert list((stack.service_folder("model") / "tmp/models").rglob("model.onnx"))


def test_tables_are_in_postgresql(stack: Composition) -> None:
    with psycopg.connect(stack.database("mlflow", PASSWORD)) as connection:
        rows = connection.execute("SELECT name, version FROM model_versions").fetchall()
    assert (MODEL, 1) in rows
    assert not list(stack.folder.rglob("*.db"))


def test_a_new_pin_and_a_restart_serve_another_version(stack: Composition) -> None:
    before, url = pinned(stack), stack.url + "/predict"
    pin(stack, steepness=6.0)
    assert stack.stop("model") == 0
    with client() as session:
        gone = session.post(url, RED, timeout=120)
        check_problem(gone, 503, "not_ready")
        assert from_nginx(gone)
        assert gone.headers["Retry-After"] == "5"
        start_model(stack)
        # The proxy was not reloaded.
        served = session.post(url, RED, timeout=120)
    assert served.headers["X-Model-Digest"] == pinned(stack).digest != before.digest


def test_an_alias_of_mlflow_is_followed_behind_the_proxy(stack: Composition) -> None:
    first, second = pinned(stack), register_bundle(stack.registry, stack.folder, MODEL, 5.0).pin
    allowed = replace(first, allowed=(second.digest,))
    (stack.folder / f"pins/{MODEL}.json").write_bytes(allowed.to_bytes())
    promote(stack, first)
    assert stack.stop("model") == 0
    start_model(stack, GOLDFISH_FOLLOW=f"{MODEL}@champion", GOLDFISH_POLL="1")
    await_proxy(stack)
    served = [request(stack.url + "/predict", RED).headers["X-Model-Digest"]]
    for chosen in (second, first):
        promote(stack, chosen)
        await_true(lambda: request(stack.url + "/version").json()["digest"] == chosen.digest)  # noqa: B023
        # The other worker does the same a hundredth of a second later.
        time.sleep(0.1)
        served.append(request(stack.url + "/predict", RED).headers["X-Model-Digest"])
    assert served == [first.digest, second.digest, first.digest]
    (stack.folder / f"pins/{MODEL}.json").write_bytes(first.to_bytes())
    assert stack.stop("model") == 0
    start_model(stack)
    await_proxy(stack)


def promote(stack: Composition, pin: Pin) -> None:
    """Moves the alias, as a person does in MLflow."""
    connect(stack.registry).client.set_registered_model_alias(MODEL, "champion", str(pin.version))


def test_a_backup_brings_back_what_was_lost(stack: Composition) -> None:
    dump, environment = stack.folder / "mlflow.dump", stack.environment("db")
    # The commands of docs/deploy.md.
    options = [*stack.socket_options(), "--format=custom", f"--file={dump}"]
    run(["pg_dump", *options, "mlflow"], environment)
    assert PASSWORD.encode() not in dump.read_bytes()
    versions = stack.registry + "/api/2.0/mlflow/model-versions/search"
    before = request(versions).json()["model_versions"]
    with psycopg.connect(stack.database("mlflow", PASSWORD)) as connection:
        connection.execute("TRUNCATE registered_models CASCADE")
    assert request(versions).json() == {}
    options = [*stack.socket_options(), "--dbname=mlflow", "--clean", "--if-exists"]
    run(["pg_restore", *options, str(dump)], environment)
    assert request(versions).json()["model_versions"] == before
