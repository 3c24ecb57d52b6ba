"""Whoever starts the worker again, whatever lies in the folder by then: what answers is what was pinned."""

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
from tests.serving.servers import PATIENCE, Server, publish, running

RED = one_colour_png(COLOURS["red"])
BUNDLE, REPORT = "models/colours/bundle", "reports/colours/metrics.json"
# Seconds; a worker that says nothing for three of them is ended by its master.
DEADLINE = 1.0
# The next version: it is less sure, knows other names and has no crop.
NEXT = {LABELS: to_json([{"id": f"d{number}", "name": f"new {name}"} for number, name in enumerate(COLOURS)])}


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a report of the pinned digest. Tests replace its folder, and its worker."""
    folder = publish(tmp_path_factory.mktemp("pinned"))
    report = to_json({"digest": Bundle.open(folder / BUNDLE).digest, "top1": 0.5})
    write_files(folder, {REPORT: report})
    with running(folder, deadline=DEADLINE) as started:
        yield started


def next_version(folder: Path) -> Path:
    """Another valid bundle."""
    return write_bundle(folder, steepness=2.0, extra=NEXT)


def in_place(bundle: Path) -> None:
    """Each file is opened and written anew, as `cp -r` does."""
    next_version(bundle)


def renamed(bundle: Path) -> None:
    """Another folder takes its name, as a pull does."""
    fresh = next_version(bundle.with_name("fresh"))
    rmtree(bundle, ignore_errors=True)
    fresh.rename(bundle)


def linked(bundle: Path) -> None:
    """A link leads elsewhere, as a mounted volume does."""
    target = next_version(bundle.with_name("target"))
    rmtree(bundle)
    bundle.symlink_to(target)


def half(bundle: Path) -> None:
    """Whoever writes the next version has got as far as the graph."""
    (bundle / GRAPH).write_bytes(bundle_files(2.0)[GRAPH])
    (bundle / MANIFEST).unlink()


def cut_short(bundle: Path) -> None:
    """The disk was full."""
    for name in (GRAPH, LABELS, PREPROCESSING):
        os.truncate(bundle / name, 10)


def gone(bundle: Path) -> None:
    """Models, pins and reports are deleted."""
    root = bundle.parents[2]
    for name in ("models", "pins", "reports"):
        rmtree(root / name)


def retold(bundle: Path) -> None:
    """A report of the next version takes the place of this one."""
    write_files(bundle.parents[2], {REPORT: to_json({"digest": "0" * 64, "top1": 0.9})})


Change = Callable[[Path], None]
# In this order: each finds what the one before has left.
CHANGES: list[Change] = [retold, half, cut_short, in_place, renamed, linked, gone]


def worker_gets(signum: int) -> Callable[[Server], None]:
    """The worker is sent a signal."""
    return lambda server: os.kill(server.worker.pid, signum)


def master_gets(signum: int) -> Callable[[Server], None]:
    """The master is sent a signal."""
    return lambda server: os.kill(server.process.pid, signum)


WAYS: dict[str, Callable[[Server], None]] = {
    "killed": worker_gets(signal.SIGKILL),
    "crashed": worker_gets(signal.SIGSEGV),
    "aborted": worker_gets(signal.SIGABRT),
    "ended": worker_gets(signal.SIGTERM),
    "hung up on": worker_gets(signal.SIGHUP),
    "hung up on by the master": master_gets(signal.SIGHUP),
    "stopped, and ended by the heartbeat": worker_gets(signal.SIGSTOP),
}


def replaced(server: Server, way: Callable[[Server], None]) -> None:
    """Has the worker replaced, and waits for the next one."""
    before = server.worker.pid
    server.session.close()
    way(server)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        pids = [child.pid for child in psutil.Process(server.process.pid).children()]
        try:
            if before not in pids and requests.get(server.url + "/readyz", timeout=PATIENCE).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.02)
    raise AssertionError((server.folder / "log").read_text())


def check(server: Server, digest: str) -> None:
    """Everything that says what answers says the same, and the answer is that of the pinned bundle."""
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
    replaced(pinned, WAYS["killed"])
    check(pinned, digest)


@pytest.mark.parametrize("way", WAYS)
def test_worker_is_replaced_in_every_way(pinned: Server, way: str) -> None:
    digest = pinned.get("/version").json()["digest"]
    next_version(pinned.folder / BUNDLE)
    replaced(pinned, WAYS[way])
    check(pinned, digest)


def test_bytes_are_read_once(tmp_path: Path) -> None:
    publish(tmp_path)
    release = find_release(Settings(model="colours", pins=tmp_path / "pins", models=tmp_path / "models"))
    before = {name: release.bundle.read(name) for name in bundle_files()}
    next_version(tmp_path / BUNDLE)
    assert {name: release.bundle.read(name) for name in bundle_files()} == before == bundle_files()
    assert release.bundle.digest == release.pin.digest
