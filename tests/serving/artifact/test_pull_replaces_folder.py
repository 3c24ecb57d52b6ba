"""A pull replaces a folder as a whole, also when pulls run concurrently, fail or are killed."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.download import DestinationTaken, pull_bundle
from serving.artifact.manifest import GRAPH, LABELS, MANIFEST
from serving.artifact.pin import Pin
from serving.artifact.registry.errors import RegistryUnavailable, VersionDamaged
from serving.model.predictor import Predictor
from tests.repo.imports import ROOT
from tests.serving.bundles import write_bundle
from tests.serving.registries import (
    UNUSED_ADDRESS,
    RegisteredBundle,
    RelayRequest,
    copy_bundle,
    expect_no_leftovers,
    flipped_byte,
    relay,
    trickle,
)
from tests.serving.servers import interruptible


def overwritten(to: Path) -> None:
    (to / GRAPH).write_bytes(b"overwritten")


def without_manifest(to: Path) -> None:
    (to / MANIFEST).unlink()


def without_graph(to: Path) -> None:
    (to / GRAPH).unlink()


def with_extra_file(to: Path) -> None:
    (to / "serving/more").touch()


def of_another_model(to: Path) -> None:
    shutil.rmtree(to)
    write_bundle(to, "another")


def empty(to: Path) -> None:
    shutil.rmtree(to)
    to.mkdir()


def linked(to: Path) -> None:
    shutil.rmtree(to)
    (to.parent.parent / "real").mkdir()
    to.symlink_to(to.parent.parent / "real")


@pytest.mark.parametrize(
    "spoil", [overwritten, without_manifest, without_graph, with_extra_file, of_another_model, empty, linked]
)
def test_damaged_or_other_bundle_is_replaced(
    database: RegisteredBundle, to: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(copy_bundle(database, to))
    pull_bundle(database.pin, database.uri, to)
    Predictor.open(to).check_golden()
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]
    assert to.is_symlink() == (spoil is linked)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_other_files_are_not_replaced(database: RegisteredBundle, to: Path, kind: str) -> None:
    precious = to if kind == "file" else to / "precious"
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("photos")
    with pytest.raises(DestinationTaken, match="holds something that is no bundle"):
        pull_bundle(database.pin, database.uri, to)
    assert precious.read_text() == "photos"


def test_what_was_there_stays_when_the_new_one_is_refused(registered: RegisteredBundle, to: Path) -> None:
    before = Bundle.open(write_bundle(to, "another"))
    with flipped_byte(registered.files / LABELS), pytest.raises(VersionDamaged):
        pull_bundle(registered.pin, registered.uri, to)
    before.verify()
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_what_was_there_comes_back_when_replacing_is_interrupted(
    database: RegisteredBundle, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Bundle.open(write_bundle(to, "another"))
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pull_bundle(database.pin, database.uri, to)
    before.verify()
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_pulls_at_once_all_end_well(database: RegisteredBundle, to: Path) -> None:
    overwritten(copy_bundle(database, to))

    def pull_and_use() -> None:
        Predictor.open(pull_bundle(database.pin, database.uri, to)).check_golden()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(pull_and_use) for _ in range(8)]:
            done.result()
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_a_pull_that_comes_second_leaves_what_the_first_has_put_there(
    database: RegisteredBundle, to: Path
) -> None:
    first = os.open(to.parent, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(pull_bundle, database.pin, database.uri, to)
        while not list(to.parent.glob(".bundle.*/new/manifest.json")):
            assert not second.done()
        time.sleep(0.1)
        inode = copy_bundle(database, to).stat().st_ino
        os.close(first)
        second.result()
    assert to.stat().st_ino == inode
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def start_pull(pins: Path, to: Path, uri: str) -> subprocess.Popen[str]:
    line = f"-m serving.pull tiny --pins {pins} --to {to} --registry {uri}".split()
    return subprocess.Popen(
        [sys.executable, *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_processes_at_once_all_end_well(registry_server: RegisteredBundle, pins: Path, to: Path) -> None:
    started = [start_pull(pins, to, registry_server.uri) for _ in range(3)]
    ended = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    assert {out for out, _ in ended} == {f"{to}\n"}
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]
    Bundle.open(to).verify(whole=False)


def test_an_interrupted_command_leaves_nothing(
    registry_server: RegisteredBundle, pins: Path, to: Path
) -> None:
    def intercept(request: RelayRequest) -> bool:
        return trickle(request) if request.path.endswith(GRAPH) else False

    with relay(registry_server.uri, intercept) as front, expect_no_leftovers(to):
        with interruptible():
            process = start_pull(pins, to, front.uri)
        while not any(path.endswith(GRAPH) for path in front.requested_paths):
            time.sleep(0.02)
        assert [path.name[:8] for path in to.parent.iterdir()] == [".bundle."]
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert error.splitlines()[-1] == "interrupted; what was there before is still whole"


@contextmanager
def unfinished_pull(
    registry_server: RegisteredBundle, pins: Path, to: Path
) -> Iterator["subprocess.Popen[str]"]:
    """A subprocess whose pull has begun and does not end."""

    def intercept(request: RelayRequest) -> bool:
        return trickle(request) if request.path.endswith(GRAPH) else False

    with relay(registry_server.uri, intercept) as front:
        process = start_pull(pins, to, front.uri)
        while not any(path.endswith(GRAPH) for path in front.requested_paths):
            assert process.poll() is None
            time.sleep(0.02)
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=20)


def test_what_a_killed_pull_leaves_is_removed_by_the_next(
    registry_server: RegisteredBundle, pins: Path, to: Path
) -> None:
    with unfinished_pull(registry_server, pins, to):
        pass
    assert [path.name[:9] for path in to.parent.iterdir()] == [".bundle.p"]
    pull_bundle(registry_server.pin, registry_server.uri, to)
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_what_a_pull_is_using_is_left_alone(registry_server: RegisteredBundle, pins: Path, to: Path) -> None:
    for name in (".bundle.backup", ".bundle", ".other.pulling-1", "bundle.pulling-1"):
        (to.parent / name).mkdir()
    (to.parent / ".bundle.pulling-link").symlink_to(pins)
    mine = set(to.parent.iterdir())
    with unfinished_pull(registry_server, pins, to) as process:
        (used,) = set(to.parent.iterdir()) - mine
        pull_bundle(registry_server.pin, registry_server.uri, to)
        assert used.is_dir()
        assert process.poll() is None
    # With the bundle in place nothing is pulled, and leftovers are still removed.
    pull_bundle(registry_server.pin, UNUSED_ADDRESS, to)
    assert set(to.parent.iterdir()) == {*mine, to}
    assert (pins / "tiny.json").exists()


def test_what_a_killed_pull_had_put_aside_comes_back(to: Path) -> None:
    before = write_bundle(to.parent / ".bundle.pulling-x/old", "another")
    digest = Bundle.open(before).digest
    with pytest.raises(RegistryUnavailable):
        pull_bundle(Pin("tiny", 1, "0" * 64), "sqlite:///nowhere.db", to)
    assert Bundle.open(to).digest == digest
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_a_link_to_itself_is_no_place(database: RegisteredBundle, to: Path) -> None:
    to.symlink_to(to)
    with pytest.raises((DestinationTaken, OSError)):
        pull_bundle(database.pin, database.uri, to)
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]
