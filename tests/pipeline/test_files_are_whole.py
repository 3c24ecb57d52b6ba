"""Failed writes keep the old file or folder and leave nothing half-written."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import replace_folder, sha256_of, write

# A file size limit makes a write fail half-way, as a full disk does, and needs no root.
FULL_DISK = """
import resource, sys
from pathlib import Path
from pipeline.files import replace_folder, write
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
target = Path(sys.argv[1])
if sys.argv[2] == "file":
    write(target, b"new" * 1000)
else:
    with replace_folder(target) as folder:
        write(folder / "small", b"new")
        write(folder / "large", b"new" * 1000)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write(path, b"old")
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["deep", "file"]


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with replace_folder(tmp_path / "folder") as folder:
            write(folder / content, content.encode())
    assert names(tmp_path) == ["folder", "new"]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "folder") as folder:
        write(folder / "old", b"old")
    with contextlib.suppress(RuntimeError), replace_folder(tmp_path / "folder") as folder:
        write(folder / "new", b"new")
        raise RuntimeError
    assert names(tmp_path) == ["folder", "old"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "file":
        write(target, b"old")
    else:
        with replace_folder(target) as folder:
            write(folder / "old", b"old")
    before = {path: sha256_of(path) for path in tmp_path.rglob("*") if path.is_file()}
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(target), kind], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert {path: sha256_of(path) for path in tmp_path.rglob("*") if path.is_file()} == before
