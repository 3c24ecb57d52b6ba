"""A server that follows an alias of the registry, within what the pin or a signature allows."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.registry.mlflow_files import write_signature
from serving.artifact.pin import Pin
from tests.serving.registries import (
    RegisteredBundle,
    Relay,
    RelayRequest,
    connect,
    copy_bundle,
    register_bundle,
    relay,
)
from tests.serving.servers import Server, await_true, running
from tests.serving.signatures import make_key, sign_folder
from tests.serving.updates.test_refused_versions import gauge, served, state_of
from tests.serving.updates.test_trials import colours, trial_of
from tests.serving.updates.versions import await_version, states

MODEL = "tiny"


def move_alias(uri: str, pin: Pin) -> None:
    """As somebody does in MLflow."""
    connect(uri).client.set_registered_model_alias(MODEL, "live", str(pin.version))


@contextmanager
def following(
    folder: Path, first: RegisteredBundle, uri: str, *allowed: Pin, **more: object
) -> Iterator[Server]:
    """A server that starts with the first version, and whose pin allows some others."""
    (folder / "pins").mkdir()
    copy_bundle(first, folder / "models/tiny/bundle")
    write_pin(folder, first.pin, *allowed)
    settings = {"model": MODEL, "follow": f"{MODEL}@live", "poll": 1, "MLFLOW_TRACKING_URI": uri}
    with running(folder, **(settings | more)) as server:
        yield server


def write_pin(folder: Path, pin: Pin, *allowed: Pin) -> None:
    pin = replace(pin, allowed=tuple(each.digest for each in allowed))
    (folder / "pins/tiny.json").write_bytes(pin.to_bytes())


@pytest.fixture(scope="session")
def second(database: RegisteredBundle, tmp_path_factory: pytest.TempPathFactory) -> RegisteredBundle:
    """A second version in the embedded registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(database.uri.removeprefix("sqlite:///").rpartition("/")[0])
        return register_bundle(database.uri, tmp_path_factory.mktemp("second"), steepness=2.0)


def test_it_follows_where_the_pin_allows(
    database: RegisteredBundle, second: RegisteredBundle, tmp_path: Path
) -> None:
    move_alias(database.uri, database.pin)
    with following(tmp_path, database, database.uri, second.pin) as server:
        move_alias(database.uri, second.pin)
        await_version(server, second.pin)
        assert server.get("/models").json()["models"][0]["follows"] == "tiny@live"
        # Pulled completely, where `python -m serving.pull` puts it.
        assert (tmp_path / "models/tiny/pulled" / second.pin.digest[:12] / "manifest.json").exists()
        for pin in (database.pin, second.pin, database.pin):
            move_alias(database.uri, pin)
            await_version(server, pin)


def test_whoever_moves_the_alias_cannot_choose_any_version(
    database: RegisteredBundle, second: RegisteredBundle, tmp_path: Path
) -> None:
    move_alias(database.uri, second.pin)
    with following(tmp_path, database, database.uri) as server:
        await_true(lambda: gauge(server, "update_failing", MODEL) == 1)
        assert server.get("/models").json()["models"][0]["failure"].startswith("digest_not_allowed")
        assert served(server) == database.pin
        assert not (tmp_path / "models/tiny/pulled").exists()
        # The operator allows it.
        write_pin(tmp_path, database.pin, second.pin)
        await_version(server, second.pin)
        # And takes that back: then it may be pinned again, but not led to by the alias.
        write_pin(tmp_path, database.pin)
        await_true(lambda: gauge(server, "update_failing", MODEL) == 1)
        assert served(server) == second.pin


def test_a_hang_up_has_the_registry_asked_at_once(
    database: RegisteredBundle, second: RegisteredBundle, tmp_path: Path
) -> None:
    move_alias(database.uri, database.pin)
    with following(tmp_path, database, database.uri, second.pin, poll=3600) as server:
        await_true(lambda: gauge(server, "update_failing", MODEL) == 0)
        move_alias(database.uri, second.pin)
        server.process.send_signal(signal.SIGHUP)
        await_version(server, second.pin)


def test_readiness_does_not_depend_on_the_registry(
    database: RegisteredBundle, second: RegisteredBundle, tmp_path: Path
) -> None:
    moved, path = tmp_path / "registry.db", Path(database.uri.removeprefix("sqlite:///"))
    moved.write_bytes(path.read_bytes())
    uri = f"sqlite:///{moved}"
    move_alias(uri, database.pin)
    with following(tmp_path, database, uri, second.pin) as server:
        gone = moved.rename(tmp_path / "gone.db")
        await_true(lambda: gauge(server, "update_failing", MODEL) == 1)
        assert server.get("/readyz").ok
        assert served(server) == database.pin
        gone.rename(moved)
        move_alias(uri, second.pin)
        await_version(server, second.pin)
        assert gauge(server, "update_failing", MODEL) == 0


def test_an_alias_that_is_not_there(database: RegisteredBundle, tmp_path: Path) -> None:
    connect(database.uri).client.delete_registered_model_alias(MODEL, "live")
    with following(tmp_path, database, database.uri) as server:
        await_true(lambda: gauge(server, "update_failing", MODEL) == 1)
        assert server.get("/models").json()["models"][0]["failure"].startswith("alias_unusable")
        assert served(server) == database.pin


def test_a_pull_that_is_killed_is_repeated(registry_server: RegisteredBundle, tmp_path: Path) -> None:
    uri = registry_server.uri
    (tmp_path / "files").mkdir()
    second = register_bundle(uri, tmp_path / "files", steepness=3.0)
    move_alias(uri, registry_server.pin)
    slow = {"on": True}

    def stall(request: RelayRequest) -> bool:
        while slow["on"] and request.path.endswith("model.onnx"):
            time.sleep(0.05)
        return False

    with relay(uri, stall) as front, following(tmp_path, registry_server, front.uri, second.pin) as server:
        move_alias(uri, second.pin)
        await_true(lambda: bool(server.worker.children()) and _asked_for_graph(front))
        (pulling,) = server.worker.children()
        assert list((tmp_path / "models/tiny").glob("pulled/.*"))
        pulling.kill()
        await_true(lambda: gauge(server, "update_failing", MODEL) == 1)
        assert served(server) == registry_server.pin
        slow["on"] = False
        await_version(server, second.pin)
        # Nothing is left of the first attempt.
        assert [path.name for path in (tmp_path / "models/tiny/pulled").iterdir()] == [second.pin.digest[:12]]


def _asked_for_graph(front: Relay) -> bool:
    return any(path.endswith("model.onnx") for path in front.requested_paths)


def test_a_challenger_is_on_trial_until_it_is_chosen(
    database: RegisteredBundle, second: RegisteredBundle, tmp_path: Path
) -> None:
    connect(database.uri).client.set_registered_model_alias(MODEL, "next", str(second.pin.version))
    move_alias(database.uri, database.pin)
    settings = {"candidates": f"{MODEL}@next", "shadow": 1}
    with following(tmp_path, database, database.uri, second.pin, **settings) as server:
        await_true(lambda: states(server)[1:] == [(second.pin.version, "candidate")])
        # However often it agrees, people decide.
        images = colours(1000)
        while trial_of(server)["state"] != "as_good":
            assert served_version(server, next(images)) == database.pin.version
        move_alias(database.uri, second.pin)
        await_version(server, second.pin)
        assert trial_of(server) == {}
        # It was loaded already.
        assert [line["message"] for line in server.log()].count("a version is loaded") == 1


def served_version(server: Server, image: bytes) -> int:
    return int(server.post("/inference", data=image).headers["X-Model-Version"])


def test_only_what_a_trusted_key_has_signed_comes_in(
    database: RegisteredBundle, second: RegisteredBundle, tmp_path: Path
) -> None:
    """Whatever the pin allows: the signatures are those of the registry."""
    for name in ("trusted", "other"):
        (tmp_path / name).mkdir()
    trusted, other = (make_key(tmp_path / name) for name in ("trusted", "other"))
    registry = connect(database.uri)
    versions = {
        each.pin.digest: registry.get_by_digest(MODEL, each.pin.digest) for each in (database, second)
    }
    write_signature(registry, versions[database.pin.digest], sign_folder(database.files, trusted))
    move_alias(database.uri, database.pin)
    try:
        with following(tmp_path, database, database.uri, trusted_keys=trusted.public) as server:
            move_alias(database.uri, second.pin)
            await_true(lambda: gauge(server, "update_failing", MODEL) == 1)
            failure = server.get("/models").json()["models"][0]["failure"]
            assert failure.startswith("signature_missing")
            write_signature(registry, versions[second.pin.digest], sign_folder(second.files, other))
            await_true(lambda: bool(state_of(server, second.pin)))
            assert state_of(server, second.pin)["code"] == "signature_untrusted"
            assert served(server) == database.pin
            write_signature(registry, versions[second.pin.digest], sign_folder(second.files, trusted))
            server.process.send_signal(signal.SIGHUP)
            await_version(server, second.pin)
    finally:
        for version in versions.values():
            write_signature(registry, version, None)
