"""A new version is put on trial: it answers beside the active one, and is taken or refused by itself."""

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import requests
from onnx import numpy_helper

from serving.artifact.files import to_json
from serving.artifact.head import Head
from serving.artifact.manifest import GOLDEN, GRAPH, HEAD
from serving.artifact.pin import Pin
from tests.serving.bundles import COLOURS, bundle_files, one_colour_png
from tests.serving.servers import Server, await_true, publish, running
from tests.serving.updates.test_refused_versions import served, state_of
from tests.serving.updates.versions import add_version, await_version, write_pin


@contextmanager
def on_trial(folder: Path, candidate: dict[str, Any], **settings: object) -> Iterator[tuple[Server, Pin]]:
    """A server with a candidate on trial."""
    with running(publish(folder), **settings) as server:
        pin = add_version(folder, 4, **candidate)
        write_pin(folder, pin)
        await_true(lambda: bool(trial_of(server)))
        yield server, pin


def trial_of(server: Server) -> dict[str, Any]:
    """What the present trial has shown; empty without one."""
    (model,) = server.get("/models").json()["models"]
    trials = [version["trial"] for version in model["versions"] if "trial" in version]
    return trials[0] if trials else {}


def colours(count: int) -> Iterator[bytes]:
    """Images of different colours, each mostly red, green or blue."""
    picture = random.Random(1)
    for number in range(count):
        colour = [picture.randrange(100) for _ in range(3)]
        colour[number % 3] = picture.randrange(200, 256)
        yield one_colour_png((colour[0], colour[1], colour[2]))


def send_until_compared(server: Server, image: bytes) -> requests.Response:
    """Sends an image again until it is compared, or the trial is over; returns the last response.

    A busy server answers, and drops what it has no time to compare.
    """
    shown = before = trial_of(server)
    while True:
        response = server.post("/inference", data=image)
        await_true(partial(has_changed, server, shown))
        shown = trial_of(server)
        if not shown or shown["compared"] > before["compared"]:
            return response


def has_changed(server: Server, before: dict[str, Any]) -> bool:
    """Has the trial gone on, or ended?"""
    return not before or trial_of(server) != before


def test_a_candidate_that_is_as_good_becomes_active(tmp_path: Path) -> None:
    with on_trial(tmp_path, {"steepness": 3.5}, shadow=1) as (server, pin):
        for image in colours(100):
            assert send_until_compared(server, image).headers["X-Model-Version"] == "3"
        shown = trial_of(server)
        assert (shown["state"], shown["compared"], shown["failed"]) == ("undecided", 100, 0)
        assert shown["agreed"] == 100
        assert 0 < shown["mean_difference"] < 0.2
        page = server.get("/model", headers={"Accept": "text/html"}).text
        assert "Trial of version 4" in page
        assert "100 of 100 images that both have classified" in page
        for image in list(colours(300))[100:]:
            send_until_compared(server, image)
        await_version(server, pin)
    messages = [line["message"] for line in server.log() if line["message"] != "request"]
    assert messages == [
        "ready",
        "a version is loaded",
        "a trial begins",
        "a trial was passed",
        "the served version has changed",
    ]


def mislabelled() -> dict[str, Any]:
    """A candidate whose outputs are in another order than its labels."""
    files = bundle_files(3.0)
    graph = onnx.load_from_string(files[GRAPH])
    (weights,) = [each for each in graph.graph.initializer if each.name == "weights"]
    kernel = numpy_helper.to_array(weights)[:, [1, 2, 0]]
    weights.CopyFrom(numpy_helper.from_array(kernel, "weights"))
    golden = json.loads(files[GOLDEN])
    for image in golden["images"]:
        image["probabilities"] = np.roll(image["probabilities"], -1).tolist()
    head = Head(kernel, np.zeros(len(COLOURS), np.float32))
    return {
        "steepness": 3.0,
        "extra": {GRAPH: graph.SerializeToString(), GOLDEN: to_json(golden), HEAD: head.to_bytes()},
    }


# A candidate that never agrees has lost after three answers (docs/trials.md).
ENOUGH = 10


def test_a_candidate_with_wrong_labels_is_refused(tmp_path: Path) -> None:
    with on_trial(tmp_path, mislabelled(), shadow=1) as (server, pin):
        before = served(server)
        for image in colours(ENOUGH):
            assert server.post("/inference", data=image).headers["X-Model-Version"] == "3"
        await_true(lambda: bool(state_of(server, pin)))
        found = state_of(server, pin)
        assert found["code"] == "trial_lost"
        assert found["reason"].startswith("It is worse than the served version: it agrees in 0 of ")
        assert served(server) == before
        assert trial_of(server) == {}


def test_an_image_that_is_sent_again_proves_nothing(tmp_path: Path) -> None:
    with on_trial(tmp_path, {"steepness": 3.5}, shadow=1) as (server, _):
        send_until_compared(server, one_colour_png(COLOURS["red"]))
        for _ in range(20):
            server.post("/inference", data=one_colour_png(COLOURS["red"]))
        for image in colours(3):
            send_until_compared(server, image)
        assert trial_of(server)["compared"] == 4


def test_some_clients_are_answered_by_the_candidate(tmp_path: Path) -> None:
    keys = [f"key-{number}" for number in range(24)]
    digests = ",".join(hashlib.sha256(key.encode()).hexdigest() for key in keys)
    with on_trial(tmp_path, {"steepness": 3.5}, canary=0.5, api_keys=digests) as (server, pin):
        images = colours(3 * len(keys))
        answered: dict[str, set[str]] = {}
        for key in keys * 3:
            headers = {"X-API-Key": key}
            response = server.post("/predict", data=next(images), headers=headers)
            digest = response.headers["X-Model-Digest"]
            assert response.json()["model"]["digest"] == digest
            answered.setdefault(key, set()).add(digest)
        # The same client always gets the same version.
        assert all(len(digests) == 1 for digests in answered.values())
        candidates = [key for key, found in answered.items() if found == {pin.digest}]
        assert 0 < len(candidates) < len(keys)
        # What the candidate has answered is compared, and nothing else.
        await_true(lambda: trial_of(server)["compared"] + trial_of(server)["dropped"] == 3 * len(candidates))
        assert trial_of(server)["agreed"] == trial_of(server)["compared"] > 0
        # A version that is named answers in any case.
        for version in ("3", "4"):
            chosen = server.post(f"/predict?version={version}", data=next(colours(1)), headers=headers)
            assert chosen.json()["model"]["version"] == int(version)


def test_the_trial_ends_when_the_pin_goes_back(tmp_path: Path) -> None:
    with on_trial(tmp_path, {"steepness": 3.5}, shadow=1) as (server, _):
        write_pin(tmp_path, served(server))
        await_true(lambda: trial_of(server) == {})
