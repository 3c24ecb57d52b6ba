"""Recipes: what they promise is checked, downloads go on where they broke off, and errors say what to do."""

import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipeline.downloads import cached
from pipeline.errors import ArchiveInvalid, SourceChanged, SourceInvalid, SourceUnavailable
from pipeline.params import Environment
from pipeline.sources import class_folders

CLASSES = r"(?P<class>n[0-9]+)_[^/]*\.jpg$"
# A port where nothing listens: connections are refused at once, as on a machine without a network.
NOWHERE = "http://127.0.0.1:9/photos.zip"


class Files:
    """An HTTP server on loopback with one file; `breaks` is how many bytes it sends before it gives up."""

    def __init__(self, data: bytes) -> None:
        self.data, self.breaks, self.ranges = data, [0], []  # type: ignore[var-annotated]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if begin > len(self.data):
            handler.send_error(416)
            return
        rest = self.data[begin:]
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        sent = self.breaks.pop(0) if self.breaks else 0
        handler.wfile.write(rest[:sent] if sent else rest)


@contextmanager
def serving(files: Files) -> Iterator[str]:
    """Serves on loopback; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/photos.zip"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def archive(*members: tuple[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as opened:
        for name, data in members:
            opened.writestr(name, data)
    return target.getvalue()


def content(*members: tuple[str, bytes]) -> str:
    total = hashlib.sha256()
    for name, data in members:
        total.update(f"{hashlib.sha256(data).hexdigest()} {name.split('/')[-1]}\n".encode())
    return total.hexdigest()


def recipe(folder: Path, url: str, sha256: str, classes: str = CLASSES) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "source.yaml").write_text(f"url: {url}\nclasses: '{classes}'\nsha256: {sha256}\n")
    return folder


PHOTOS = (("top/n1_tench.jpg", b"one"), ("top/n2_goldfish.jpg", b"two"))


def unpacked(raw: Path, home: Path) -> dict[str, bytes]:
    with class_folders(raw, Environment(None, home, experiment=False)) as folder:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }


def test_an_archive_is_downloaded_once(tmp_path: Path) -> None:
    files = Files(archive(("top/README.md", b"text"), *PHOTOS))
    with serving(files) as url:
        raw = recipe(tmp_path / "raw", url, content(*PHOTOS))
        for _ in range(2):
            found = unpacked(raw, tmp_path / "keras")
            assert found == {"n1/n1_tench.jpg": b"one", "n2/n2_goldfish.jpg": b"two"}
    assert len(files.ranges) == 1


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    files = Files(data)
    files.breaks = [100_000]
    with serving(files) as url:
        with pytest.raises(SourceUnavailable, match=r"broke off after 100,000 of 256,000 bytes"):
            cached(url, tmp_path, "datasets", "the photos")
        assert not (tmp_path / "datasets/photos.zip").exists()
        assert cached(url, tmp_path, "datasets", "the photos").read_bytes() == data
    assert files.ranges == [None, "bytes=100000-"]


def test_a_part_that_does_not_fit_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/photos.zip.part").write_bytes(b"x" * 5000)
    with serving(Files(b"whole")) as url:
        assert cached(url, tmp_path, "datasets", "the photos").read_bytes() == b"whole"


def test_without_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable) as error:
        cached(NOWHERE, tmp_path, "datasets", "the photos")
    for words in ("the photos", str(tmp_path / "datasets/photos.zip"), NOWHERE, "refused", "KERAS_HOME"):
        assert words in str(error.value)


def test_other_images_than_promised_are_refused(tmp_path: Path) -> None:
    with serving(Files(archive(*PHOTOS, ("top/n3_more.jpg", b"three")))) as url:
        raw = recipe(tmp_path / "raw", url, content(*PHOTOS))
        with pytest.raises(SourceChanged, match=r"photos\.zip"):
            unpacked(raw, tmp_path / "keras")


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    evil = ("../../n1_evil.jpg", b"one")
    with serving(Files(archive(evil))) as url:
        raw = recipe(tmp_path / "raw", url, content(evil))
        assert set(unpacked(raw, tmp_path / "keras")) == {"n1/n1_evil.jpg"}
    assert not list(tmp_path.rglob("n1_evil.jpg"))


def test_an_archive_that_is_none_is_named(tmp_path: Path) -> None:
    with serving(Files(b"<html>log in first</html>")) as url:
        raw = recipe(tmp_path / "raw", url, "f" * 64)
        with pytest.raises(ArchiveInvalid, match=r"photos\.zip"):
            unpacked(raw, tmp_path / "keras")


@pytest.mark.parametrize(
    ("members", "classes", "reason"),
    [
        ([("a/n1_x.jpg", b"1"), ("b/n1_x.jpg", b"2")], CLASSES, "second n1_x.jpg"),
        ([("../x.jpg", b"1")], r"(?P<class>[^/]+)/x\.jpg$", "'..' for its class"),
        ([("x.jpg", b"1")], r"(?P<class>never)?x\.jpg$", "None for its class"),
    ],
)
def test_an_archive_that_would_lose_or_leak_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes]], classes: str, reason: str
) -> None:
    with serving(Files(archive(*members))) as url:
        raw = recipe(tmp_path / "raw", url, "f" * 64, classes)
        with pytest.raises(ArchiveInvalid, match=re.escape(reason)):
            unpacked(raw, tmp_path / "keras")


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("n1_x.jpg", bytes(range(256)) * 50)
    data = bytearray(target.getvalue())
    data[60:80] = b"\xff" * 20
    with serving(Files(bytes(data))) as url:
        raw = recipe(tmp_path / "raw", url, "f" * 64)
        with pytest.raises(ArchiveInvalid, match=r"photos\.zip"):
            unpacked(raw, tmp_path / "keras")


@pytest.mark.parametrize(
    "text",
    [
        "builtin: letters",
        "biultin: digits",
        "url: x",
        "url: x\nclasses: '(unclosed'\nsha256: y",
        "url: x\nclasses: 'no group'\nsha256: y",
        "[1, 2",
        "",
    ],
)
def test_a_recipe_with_a_mistake_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "source.yaml").write_text(text)
    with pytest.raises(SourceInvalid, match=r"source\.yaml"):
        unpacked(tmp_path, tmp_path)


def test_a_file_of_another_kind_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="neither https nor http"):
        cached("file:///etc/photos.zip", tmp_path, "datasets", "the photos")


def test_a_folder_without_a_recipe_is_the_data(tmp_path: Path) -> None:
    with class_folders(tmp_path, Environment(None, tmp_path, experiment=False)) as folder:
        assert folder == tmp_path
