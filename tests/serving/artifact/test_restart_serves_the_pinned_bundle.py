"""A restarted worker serves the pinned bundle, whatever the folder contains by then."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree

import psutil
import pytest
import requests

from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.manifest import GRAPH, LABELS, MANIFEST, PREPROCESSING
from serving.artifact.release import find_release
from serving.config import Settings
from tests.serving.bundles import (
    COLOURS,
    bundle_files,
    expected_probabilities,
    one_colour_png,
    write_bundle,
    write_files,
)
from tests.serving.servers import TIMEOUT, Server, publish, running

RED = one_colour_png(COLOURS["red"])
BUNDLE, REPORT = "models/colours/bundle", "reports/colours/metrics.json"
# Seconds; the master kills a worker whose heartbeat is missing for three of them.
DEADLINE = 1.0
# Files of the next version: it also has other labels.
NEXT = {LABELS: to_json([{"id": f"d{number}", "name": f"new {name}"} for number, name in enumerate(COLOURS)])}


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with metrics of the pinned digest. Tests replace its folder and its worker."""
    folder = publish(tmp_path_factory.mktemp("pinned"))
    report = to_json({"digest": Bundle.open(folder / BUNDLE).digest, "top1": 0.5})
    write_files(folder, {REPORT: report})
    with running(folder, deadline=DEADLINE) as started:
        yield started


def next_version(folder: Path) -> Path:
    """Another valid bundle."""
    return write_bundle(folder, steepness=2.0, extra=NEXT)


def overwritten_in_place(bundle: Path) -> None:
    """Each file is overwritten, as by `cp -r`."""
    next_version(bundle)


def renamed(bundle: Path) -> None:
    """Another folder is renamed to it, as by a pull."""
    fresh = next_version(bundle.with_name("fresh"))
    rmtree(bundle, ignore_errors=True)
    fresh.rename(bundle)


def replaced_by_link(bundle: Path) -> None:
    """A link to another folder takes its place, as in a mounted volume."""
    target = next_version(bundle.with_name("target"))
    rmtree(bundle)
    bundle.symlink_to(target)


def half_written(bundle: Path) -> None:
    """The next version is written as far as the graph."""
    (bundle / GRAPH).write_bytes(bundle_files(2.0)[GRAPH])
    (bundle / MANIFEST).unlink()


def truncated(bundle: Path) -> None:
    """Files are truncated, as on a full disk."""
    for name in (GRAPH, LABELS, PREPROCESSING):
        os.truncate(bundle / name, 10)


def deleted(bundle: Path) -> None:
    """Models, pins and reports are deleted."""
    root = bundle.parents[2]
    for name in ("models", "pins", "reports"):
        rmtree(root / name)


def with_other_metrics(bundle: Path) -> None:
    """The metrics of the next version replace those of this one."""
    write_files(bundle.parents[2], {REPORT: to_json({"digest": "0" * 64, "top1": 0.9})})


Change = Callable[[Path], None]
# In this order: each starts from the result of the one before.
CHANGES: list[Change] = [
    with_other_metrics,
    half_written,
    truncated,
    overwritten_in_place,
    renamed,
    replaced_by_link,
    deleted,
]


def signal_worker(signum: int) -> Callable[[Server], None]:
    """Sends the worker a signal."""
    return lambda server: os.kill(server.worker.pid, signum)


RESTARTS: dict[str, Callable[[Server], None]] = {
    "killed": signal_worker(signal.SIGKILL),
    "crashed": signal_worker(signal.SIGSEGV),
    "aborted": signal_worker(signal.SIGABRT),
    "terminated": signal_worker(signal.SIGTERM),
    "stopped, and killed by the heartbeat check": signal_worker(signal.SIGSTOP),
}


def replace_worker(server: Server, way: Callable[[Server], None]) -> None:
    """Ends the worker in one of the ways, and waits until its successor is ready."""
    before = server.worker.pid
    server.session.close()
    way(server)
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        pids = [child.pid for child in psutil.Process(server.process.pid).children()]
        try:
            if before not in pids and requests.get(server.url + "/readyz", timeout=TIMEOUT).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.02)
    raise AssertionError((server.folder / "log").read_text())


def check_pinned(server: Server, digest: str) -> None:
    """The prediction and every reported digest are those of the pinned bundle."""
    response = server.post("/inference", data=RED)
    assert response.json()["red"] == pytest.approx(expected_probabilities(COLOURS["red"])[0], abs=1e-5)
    assert response.headers["X-Model-Digest"] == digest
    assert server.get("/version").json()["digest"] == digest
    card = server.get("/model").json()
    assert (card["digest"], card["labels"], card["metrics"]["top1"]) == (digest, [*COLOURS], 0.5)
    assert f'digest="{digest}"' in server.get("/metrics").text
    assert {line["digest"] for line in server.log() if "digest" in line} == {digest}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_folder_is_replaced_and_the_worker_killed(pinned: Server, change: Change) -> None:
    digest = pinned.get("/version").json()["digest"]
    change(pinned.folder / BUNDLE)
    replace_worker(pinned, RESTARTS["killed"])
    check_pinned(pinned, digest)


@pytest.mark.parametrize("way", RESTARTS)
def test_worker_is_replaced_in_every_way(pinned: Server, way: str) -> None:
    digest = pinned.get("/version").json()["digest"]
    next_version(pinned.folder / BUNDLE)
    replace_worker(pinned, RESTARTS[way])
    check_pinned(pinned, digest)


def test_bytes_are_read_once(tmp_path: Path) -> None:
    publish(tmp_path)
    release = find_release(Settings(pins=tmp_path / "pins", models_folder=tmp_path / "models"), "colours")
    before = {name: release.bundle.read(name) for name in bundle_files()}
    next_version(tmp_path / BUNDLE)
    assert {name: release.bundle.read(name) for name in bundle_files()} == before == bundle_files()
    assert release.bundle.digest == release.pin.digest
