"""Which images an input names: folders, lists, tables and addresses."""

import os
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pytest
from pyarrow import parquet

from scoring.errors import ColumnMissing, InputEmpty, InputUnreadable, OptionUnavailable, ScoringError
from scoring.inputs import list_images
from tests.scoring.workspace import rows, score
from tests.serving.bundles import COLOURS, one_colour_png

RED = one_colour_png(COLOURS["red"])


def write(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "content", "entries"),
    [
        ("a.txt", b"b.jpg\na.jpg\n\n", ["a.jpg", "b.jpg"]),
        ("windows.txt", b"a.jpg\r\nb.jpg", ["a.jpg", "b.jpg"]),
        ("zero.lst", b"a\nb.jpg\0c.jpg\0", ["a\nb.jpg", "c.jpg"]),
        ("bytes.txt", b"caf\xe9.jpg\n", [os.fsdecode(b"caf\xe9.jpg")]),
        ("twice.txt", b"a.jpg\na.jpg\n", ["a.jpg"]),
        ("one.csv", b"photo\na.jpg\n", ["a.jpg"]),
        ("more.csv", b'id,path\n1,"a, b.jpg"\n2,c.jpg\n', ["a, b.jpg", "c.jpg"]),
        ("quoted.csv", b'id,path\n1,"two\nlines.jpg"\n', ["two\nlines.jpg"]),
        ("numbers.csv", b"path\n0012\n0013\n", ["0012", "0013"]),
        ("holes.csv", b"id,path\n1,a.jpg\n2,\n", ["a.jpg"]),
    ],
)
def test_entries_of_lists_and_tables(tmp_path: Path, name: str, content: bytes, entries: list[str]) -> None:
    found = list_images(write(tmp_path, name, content))
    assert found.entries == entries
    assert found.root == str(tmp_path)


def test_repeated_paths_are_counted(tmp_path: Path) -> None:
    assert list_images(write(tmp_path, "a.txt", b"a\na\nb\na\n")).repeated == 2


def test_column_of_a_parquet_file(tmp_path: Path) -> None:
    table = pa.table({"n": [1, 2, 3], "file": pa.array(["b.jpg", None, "a.jpg"], pa.large_string())})
    parquet.write_table(table, tmp_path / "t.parquet")
    found = list_images(str(tmp_path / "t.parquet"), column="file", root="photos")
    assert found.entries == ["a.jpg", "b.jpg"]
    assert found.root == str(Path("photos").absolute())


def test_folder_has_all_files_that_are_not_hidden(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/c.png", ".hidden.jpg", ".git/d.jpg", "a/.DS_Store", "no suffix"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "link.jpg").symlink_to("b.jpg")
    found = list_images(str(tmp_path))
    assert found.entries == ["a/c.png", "b.jpg", "link.jpg", "no suffix"]


@pytest.mark.parametrize(
    ("name", "content", "column", "error"),
    [
        ("empty.txt", b"", None, InputEmpty),
        ("blank.txt", b"\n\n", None, InputEmpty),
        ("two.csv", b"a,b\n1,2\n", None, ColumnMissing),
        ("other.csv", b"a,b\n1,2\n", "c", ColumnMissing),
        ("empty.csv", b"", None, InputUnreadable),
        ("ragged.csv", b"path,b\n1\n2,3,4\n", None, InputUnreadable),
        ("no.parquet", b"PAR1", None, InputUnreadable),
        ("photo.jpg", RED, None, InputUnreadable),
    ],
)
def test_unusable_input_is_refused(
    tmp_path: Path, name: str, content: bytes, column: str | None, error: type[ScoringError]
) -> None:
    with pytest.raises(error) as raised:
        list_images(write(tmp_path, name, content), column)
    assert name in str(raised.value)


@pytest.mark.parametrize(
    "source", ["missing", "missing.txt", "missing.csv", "nothing://host/a", "http://127.0.0.1:1/a.txt"]
)
def test_missing_input_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(InputUnreadable, match=source):
        list_images(source if "://" in source else str(tmp_path / source))


def test_results_in_the_folder_are_no_images(tmp_path: Path) -> None:
    for name in ("a.jpg", "scores/part-000000.parquet", "scores2/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(str(tmp_path), out=f"{tmp_path}/scores/").entries == ["a.jpg", "scores2/b.jpg"]
    with pytest.raises(OptionUnavailable, match="the folder of the images"):
        list_images(str(tmp_path), out=str(tmp_path))


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputEmpty):
        list_images(str(tmp_path))


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server with images and a list of them; returns its address."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "red.png").write_bytes(RED)
    (folder / "no.png").write_bytes(b"no image")
    (folder / "large.bmp").write_bytes(bytes(20 * 2**20 + 1))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        # The last one is refused a connection.
        others = f"{address}/gone.png\nhttp://127.0.0.1:1/a.png\n"
        (folder / "list.txt").write_text(f"red.png\nno.png\nlarge.bmp\n{others}")
        Thread(target=server.serve_forever, daemon=True).start()
        yield address
        server.shutdown()


def test_images_of_a_web_server(workspace: Path, web: str, tmp_path: Path) -> None:
    done = score(workspace, f"{web}/list.txt", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert {row["path"]: row["label"] or row["error_code"] for row in rows(tmp_path / "out")} == {
        "red.png": "red",
        "no.png": "image_unrecognised",
        "large.bmp": "image_too_large",
        f"{web}/gone.png": "file_missing",
        "http://127.0.0.1:1/a.png": "file_unreadable",
    }


def test_list_on_stdin(workspace: Path, tmp_path: Path) -> None:
    write(tmp_path, "red.png", RED)
    done = score(workspace, "-", "--out", str(tmp_path / "out"), "--root", str(tmp_path), stdin=b"red.png\n")
    assert done.returncode == 0, done.stderr
    assert [row["label"] for row in rows(tmp_path / "out")] == ["red"]
