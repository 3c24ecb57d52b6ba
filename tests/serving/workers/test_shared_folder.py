"""The folder of a server ends with it, and leftovers of killed ones are removed."""

import subprocess
import sys
from pathlib import Path

from serving.workers.shared_folder import SharedFolder
from serving.workers.shared_numbers import SharedNumbers
from tests.repo.imports import ROOT


def test_leftovers_of_killed_servers_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from serving.workers.shared_folder import SharedFolder;"
        "folder = SharedFolder.create(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False, timeout=60)
    (leftover,) = tmp_path.iterdir()
    first = SharedFolder.create(tmp_path)
    assert not leftover.exists()
    # One that is in use is no leftover.
    second = SharedFolder.create(tmp_path)
    assert set(tmp_path.iterdir()) == {first.path, second.path}
    del first
    assert set(tmp_path.iterdir()) == {second.path}


def test_numbers_of_all_workers_are_added(tmp_path: Path) -> None:
    folder = SharedFolder.create(tmp_path)
    first = SharedNumbers(folder, "tests", 2)
    folder.worker = 1
    second = SharedNumbers(folder, "tests", 2)
    first.add((1, 0.5))
    second.add((2, 0.25))
    assert first.total() == second.total() == (3.0, 0.75)
    # A worker that takes the place of another one goes on with its numbers.
    replaced = SharedNumbers(folder, "tests", 2)
    replaced.add((4, 0))
    assert first.total() == (7.0, 0.75)


def test_files_are_written_as_a_whole(tmp_path: Path) -> None:
    folder = SharedFolder.create(tmp_path)
    assert folder.read("pin") is None
    folder.write("pin", b"one")
    folder.write("pin", b"two")
    assert folder.read("pin") == b"two"
    assert [path.name for path in folder.path.iterdir()] == ["pin"]
