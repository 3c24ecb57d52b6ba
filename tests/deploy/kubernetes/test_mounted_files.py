"""Pin, signature and keys come from a ConfigMap and Secrets, and are followed when these change."""

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.artifact.pin import Pin
from tests.deploy.kubernetes.conftest import MODEL, MakePod, Version
from tests.deploy.kubernetes.pods import Pod, mount
from tests.deploy.kubernetes.rollout import RED
from tests.serving.registries import UNUSED_ADDRESS, mlflow_server, register_bundle
from tests.serving.servers import await_true
from tests.serving.signatures import KeyPair, make_key, sign_folder

COMPONENTS = ("api-keys", "trusted-keys", "registry")


@dataclass(frozen=True)
class SignedPins:
    """The ConfigMap's files for each version, and the Secret with the key that has signed them."""

    first: dict[str, bytes]
    second: dict[str, bytes]
    keys: dict[str, bytes]


def sign(version: Version, key: KeyPair, folder: Path) -> dict[str, bytes]:
    """The pin of a version with its signature."""
    copy = shutil.copytree(version.bundle, folder / f"version-{version.pin.version}")
    return version.pins | {f"{MODEL}.sig": sign_folder(copy, key)}


@pytest.fixture(scope="module")
def pins(versions: tuple[Version, Version], tmp_path_factory: pytest.TempPathFactory) -> SignedPins:
    """Both versions, signed by one key."""
    folder = tmp_path_factory.mktemp("signed")
    key = make_key(folder)
    first, second = (sign(version, key, folder) for version in versions)
    return SignedPins(first, second, {"keys.pem": key.public.read_bytes()})


def key_file(key: str) -> dict[str, bytes]:
    """The Secret with one API key."""
    return {"keys": f"{key} {hashlib.sha256(key.encode()).hexdigest()}\n".encode()}


@pytest.fixture(scope="module")
def pod(make_pod: MakePod, versions: tuple[Version, Version], pins: SignedPins) -> Pod:
    """A ready pod with these components. Nothing answers at its registry's address."""
    secrets = {"goldfish-api-keys": key_file("alice"), "goldfish-trusted-keys": pins.keys}
    made = make_pod(
        versions[0], pins.first, COMPONENTS, secrets=secrets, changed={"MLFLOW_TRACKING_URI": UNUSED_ADDRESS}
    )
    # As if the second version had been pulled: tests/serving/artifact/test_pull.py pulls from registries.
    second = versions[1]
    shutil.copytree(second.bundle, made.place(f"/srv/models/{MODEL}/pulled/{second.pin.digest[:12]}"))
    return made.start().await_ready()


def served_digest(pod: Pod) -> str:
    return str(json.loads(pod.get("/version")[1])["digest"])


def predict(pod: Pod, key: str) -> int:
    """The status of a prediction with an API key."""
    return pod.request("POST", "/inference", RED, headers={"X-API-Key": key})[0]


def test_a_changed_config_map_is_followed_by_the_running_pod(
    pod: Pod, versions: tuple[Version, Version], pins: SignedPins
) -> None:
    first, second = (version.pin.digest for version in versions)
    assert served_digest(pod) == first
    mount(pod.place("/srv/pins"), pins.second)
    await_true(lambda: served_digest(pod) == second)
    mount(pod.place("/srv/pins"), pins.first)
    await_true(lambda: served_digest(pod) == first)
    assert pod.code is None


def test_a_version_that_cannot_be_pulled_changes_nothing(pod: Pod, pins: SignedPins) -> None:
    before = served_digest(pod)
    mount(pod.place("/srv/pins"), pins.first | {f"{MODEL}.json": Pin(MODEL, 3, "0" * 64).to_bytes()})
    failing = f'goldfish_update_failing{{model="{MODEL}",target="active"}} 1.0'
    await_true(lambda: failing in pod.get("/metrics", pod.metrics_port)[1].decode())
    assert pod.succeeds(pod.container["readinessProbe"])
    assert served_digest(pod) == before
    assert predict(pod, "alice") == 200


def test_a_changed_secret_changes_the_keys(pod: Pod) -> None:
    assert [predict(pod, key) for key in ("alice", "carol")] == [200, 401]
    mount(pod.place("/run/goldfish/api-keys"), key_file("carol"))
    # The server looks at most once a second.
    time.sleep(1.1)
    assert [predict(pod, key) for key in ("alice", "carol")] == [401, 200]


def test_without_a_signature_the_pod_does_not_get_ready(
    make_pod: MakePod, versions: tuple[Version, Version], pins: SignedPins
) -> None:
    first, second = versions
    wrong = pins.first | {f"{MODEL}.sig": pins.second[f"{MODEL}.sig"]}
    made = make_pod(first, wrong, ("trusted-keys",), secrets={"goldfish-trusted-keys": pins.keys}).start()
    assert made.ended.wait(30)
    assert (made.ready, made.code) == (False, 1)
    assert f"{MODEL}.sig is of {second.pin.digest[:12]}" in made.log()


# Slow: an MLflow server, which takes ten seconds. tests/serving/artifact/test_pull.py pulls too.
@pytest.mark.slow
def test_a_pod_pulls_what_its_image_does_not_have(
    make_pod: MakePod, versions: tuple[Version, Version], tmp_path: Path
) -> None:
    with mlflow_server(tmp_path) as address:
        pin = register_bundle(address, tmp_path, MODEL, steepness=6.0).pin
        changed = {"MLFLOW_TRACKING_URI": address}
        made = make_pod(versions[0], components=("registry",), changed=changed).start().await_ready()
        mount(made.place("/srv/pins"), {f"{MODEL}.json": pin.to_bytes()})
        await_true(lambda: served_digest(made) == pin.digest)
    assert [path.name for path in made.place(f"/srv/models/{MODEL}/pulled").iterdir()] == [pin.digest[:12]]
