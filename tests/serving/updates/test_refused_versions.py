"""Whatever is wrong with the next version, the present one stays, and the server says why."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.manifest import GOLDEN, GRAPH
from serving.artifact.pin import Pin
from tests.serving.bundles import COLOURS, TOLERANCE, one_colour_png, write_manifest
from tests.serving.servers import Server, await_true, publish, running
from tests.serving.updates.versions import OTHER_LABELS, add_version, pin_and_await, pulled, write_pin

RED = one_colour_png(COLOURS["red"])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose registry does not exist."""
    folder = publish(tmp_path_factory.mktemp("refused"))
    with running(folder, MLFLOW_TRACKING_URI="sqlite:///gone.db") as started:
        yield started


def one_bit_is_wrong(folder: Path) -> Pin:
    pin = add_version(folder, 4, steepness=2.1)
    graph = pulled(folder, pin) / GRAPH
    # In the workspace: what was pulled and is damaged would be pulled again.
    data = bytearray(graph.read_bytes())
    data[-1] ^= 1
    graph.write_bytes(data)
    pulled(folder, pin).rename(_make_room(folder))
    return pin


def golden_images_differ(folder: Path) -> Pin:
    images = [{"file": "0.png", "probabilities": [0.1, 0.8, 0.1]}]
    golden = to_json({"tolerance": TOLERANCE, "images": images})
    return add_version(folder, 5, extra={GOLDEN: golden})


def labels_differ(folder: Path) -> Pin:
    return add_version(folder, 6, extra=OTHER_LABELS)


def graph_is_no_graph(folder: Path) -> Pin:
    return add_version(folder, 7, extra={GRAPH: b"nothing"})


def of_another_model(folder: Path) -> Pin:
    pin = add_version(folder, 8, steepness=2.2)
    target = pulled(folder, pin)
    write_manifest(target, "tones")
    moved = Pin("colours", 8, Bundle.open(target).digest)
    target.rename(pulled(folder, moved))
    return moved


def _make_room(folder: Path) -> Path:
    workspace = folder / "models/colours/bundle"
    workspace.rename(folder / "before")
    return workspace


REFUSED: dict[str, Callable[[Path], Pin]] = {
    "golden_mismatch": golden_images_differ,
    "labels_changed": labels_differ,
    "contract_broken": graph_is_no_graph,
    "model_mismatch": of_another_model,
    "digest_mismatch": one_bit_is_wrong,
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_bad_version_is_refused(live: Server, code: str) -> None:
    before = served(live)
    pin = REFUSED[code](live.folder)
    write_pin(live.folder, pin)
    await_true(lambda: bool(state_of(live, pin)))
    assert state_of(live, pin)["code"] == code
    assert served(live) == before
    assert gauge(live, "update_refused") == 1
    lines = [line for line in live.log() if line["message"] == "a version is refused"]
    assert [line["code"] for line in lines if line["digest"] == pin.digest] == [code]
    write_pin(live.folder, before)
    await_true(lambda: gauge(live, "update_refused") == 0)


FAILING: dict[str, Callable[[Path], bytes]] = {
    "registry_unavailable": lambda _: Pin("colours", 9, "e" * 64).to_bytes(),
    "pin_invalid": lambda _: b"<<<<<<< HEAD\n",
}


@pytest.mark.parametrize("code", FAILING)
def test_what_may_be_better_later_is_tried_again(live: Server, code: str) -> None:
    before = served(live)
    write_pin(live.folder, FAILING[code](live.folder))
    await_true(lambda: gauge(live, "update_failing") == 1)
    (model,) = live.get("/models").json()["models"]
    assert model["failure"].startswith(code)
    assert served(live) == before
    assert live.get("/readyz").ok
    assert [line["code"] for line in live.log() if line.get("code")][-1] == code
    pin_and_await(live, add_version(live.folder, 10, steepness=2.5 if code == "pin_invalid" else 2.6))
    assert gauge(live, "update_failing") == 0


def served(server: Server) -> Pin:
    """The pin of the version that answers."""
    response = server.post("/inference", data=RED)
    headers = response.headers
    assert response.ok
    return Pin(headers["X-Model-Name"], int(headers["X-Model-Version"]), headers["X-Model-Digest"])


def state_of(server: Server, pin: Pin) -> dict[str, Any]:
    """The refusal of a version, empty if it is not refused."""
    (model,) = server.get("/models").json()["models"]
    found = [v for v in model["versions"] if v["digest"] == pin.digest and v["state"] == "refused"]
    return found[0] if found else {}


def gauge(server: Server, name: str, model: str = "colours") -> float:
    """The value of a gauge of a model."""
    start = f'goldfish_{name}{{model="{model}",target="active"}} '
    (line,) = [line for line in server.get("/metrics").text.splitlines() if line.startswith(start)]
    return float(line.removeprefix(start))
