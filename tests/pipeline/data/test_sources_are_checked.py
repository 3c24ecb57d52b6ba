"""Recipes are verified, downloads are resumed and limited, and hostile archives are rejected."""

import hashlib
import io
import re
import shutil
import stat
import tarfile
import tempfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from pipeline.data import archives
from pipeline.data.sources import open_source
from pipeline.downloads import cached_download
from pipeline.environment import Environment
from pipeline.errors import ArchiveInvalid, SourceChanged, SourceInvalid, SourceUnavailable

CLASSES = r"(?P<class>n[0-9]+)_[^/]*\.jpg$"
MAX_BYTES = 10**6
# A port without a listener: connections are refused at once, as on a machine without a network.
NOWHERE = "http://127.0.0.1:9/photos.zip"


class FileServer:
    """One file to serve; `breaks` are the numbers of bytes after which responses end early (0: never)."""

    def __init__(self, data: bytes) -> None:
        self.data, self.breaks, self.ranges = data, [0], []  # type: ignore[var-annotated]
        self.sends_length = True

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        requested = handler.headers.get("Range")
        self.ranges.append(requested)
        begin = int(requested.removeprefix("bytes=").rstrip("-")) if requested else 0
        if begin > len(self.data):
            handler.send_error(416)
            return
        rest = self.data[begin:]
        handler.send_response(206 if requested else 200)
        if self.sends_length:
            handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        sent = self.breaks.pop(0) if self.breaks else 0
        handler.wfile.write(rest[:sent] if sent else rest)


@contextmanager
def serving(files: FileServer) -> Iterator[str]:
    """Runs the server and yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.respond(self)

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
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
    with open_source(raw, Environment(None, home, experiment=False)) as folder:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }


def test_an_archive_is_downloaded_once(tmp_path: Path) -> None:
    files = FileServer(archive(("top/README.md", b"text"), *PHOTOS))
    with serving(files) as url:
        raw = recipe(tmp_path / "raw", url, content(*PHOTOS))
        for _ in range(2):
            found = unpacked(raw, tmp_path / "keras")
            assert found == {"n1/n1_tench.jpg": b"one", "n2/n2_goldfish.jpg": b"two"}
    assert len(files.ranges) == 1


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    files = FileServer(data)
    files.breaks = [100_000]
    with serving(files) as url:
        with pytest.raises(SourceUnavailable, match=r"broke off after 100,000 of 256,000 bytes"):
            cached_download(url, tmp_path, "datasets", "the photos", MAX_BYTES)
        assert not (tmp_path / "datasets/photos.zip").exists()
        assert cached_download(url, tmp_path, "datasets", "the photos", MAX_BYTES).read_bytes() == data
    assert files.ranges == [None, "bytes=100000-"]


def test_a_part_that_does_not_fit_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/photos.zip.part").write_bytes(b"x" * 5000)
    with serving(FileServer(b"whole")) as url:
        assert cached_download(url, tmp_path, "datasets", "the photos", MAX_BYTES).read_bytes() == b"whole"


def test_without_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable) as error:
        cached_download(NOWHERE, tmp_path, "datasets", "the photos", MAX_BYTES)
    for words in ("the photos", str(tmp_path / "datasets/photos.zip"), NOWHERE, "refused", "KERAS_HOME"):
        assert words in str(error.value)


def test_other_images_than_promised_are_refused(tmp_path: Path) -> None:
    with serving(FileServer(archive(*PHOTOS, ("top/n3_more.jpg", b"three")))) as url:
        raw = recipe(tmp_path / "raw", url, content(*PHOTOS))
        with pytest.raises(SourceChanged, match=r"photos\.zip"):
            unpacked(raw, tmp_path / "keras")


def test_an_archive_that_is_none_is_named(tmp_path: Path) -> None:
    with serving(FileServer(b"<html>log in first</html>")) as url:
        raw = recipe(tmp_path / "raw", url, "f" * 64)
        with pytest.raises(ArchiveInvalid, match=r"photos\.zip"):
            unpacked(raw, tmp_path / "keras")


@pytest.mark.parametrize(
    ("members", "classes", "reason"),
    [
        ([("a/n1_x.jpg", b"1"), ("b/n1_x.jpg", b"2")], CLASSES, "second n1_x.jpg"),
        ([("./x.jpg", b"1")], r"(?P<class>[^/]+)/x\.jpg$", "'.' for its class"),
        ([("x.jpg", b"1")], r"(?P<class>never)?x\.jpg$", "None for its class"),
    ],
)
def test_an_archive_that_would_lose_or_leak_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes]], classes: str, reason: str
) -> None:
    with serving(FileServer(archive(*members))) as url:
        raw = recipe(tmp_path / "raw", url, "f" * 64, classes)
        with pytest.raises(ArchiveInvalid, match=re.escape(reason)):
            unpacked(raw, tmp_path / "keras")


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], str]]:
    """Unpacks an archive that must be rejected before anything is written or hashed; returns the message."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "keras/datasets").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(hashlib, "sha256", lambda *_: _ForbiddenHash())

    def refuse(data: bytes) -> str:
        (tmp_path / "keras/datasets/photos.zip").write_bytes(data)
        raw = recipe(tmp_path / "raw", NOWHERE, "f" * 64)
        with pytest.raises(ArchiveInvalid, match=r"photos\.zip cannot be unpacked") as caught:
            unpacked(raw, tmp_path / "keras")
        return str(caught.value)

    yield refuse
    assert list((tmp_path / "temporary").iterdir()) == []


class _ForbiddenHash:
    """Replaces SHA-256; fails the test if it is used."""

    def update(self, _: bytes) -> None:
        pytest.fail("something was hashed")


def member(name: str = "n1_x.jpg", kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    """A zip member with a Unix file type."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info


def with_declared_size(size: int) -> bytes:
    """A zip file whose only member declares `size` bytes."""
    data = bytearray(archive(("n1_x.jpg", b"x" * 100)))
    directory = data.index(b"PK\x01\x02")
    for place in (22, directory + 24):
        data[place : place + 4] = size.to_bytes(4, "little")
    return bytes(data)


def patched(at: int, value: int, size: int = 2) -> bytes:
    """A zip file with a changed field in its central directory and in the local header."""
    data = bytearray(archive(("n1_x.jpg", b"x" * 100)))
    directory = data.index(b"PK\x01\x02")
    for place in (directory + at, at - 2):
        data[place : place + size] = value.to_bytes(size, "little")
    return bytes(data)


def flat(count: int, size: int, name: str = "n{}_x.jpg") -> bytes:
    """Members of zeros, compressed."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as opened:
        for number in range(count):
            opened.writestr(name.format(number), bytes(size))
    return target.getvalue()


def overlapping_members() -> bytes:
    """Two members that share the same bytes of the file, as in non-recursive zip bombs."""
    data = archive(("n1_x.jpg", bytes(range(256)) * 4))
    directory, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data[directory:end]
    entries = entry + entry.replace(b"n1_x.jpg", b"n2_x.jpg")
    tail = bytearray(data[end:])
    tail[8:12] = (2).to_bytes(2, "little") * 2
    tail[12:16] = len(entries).to_bytes(4, "little")
    return data[:directory] + entries + bytes(tail)


def long_directory() -> bytes:
    """An archive whose central directory declares gigabytes."""
    data = bytearray(archive(("n1_x.jpg", b"x")))
    end = data.index(b"PK\x05\x06")
    data[end + 12 : end + 16] = (2**31).to_bytes(4, "little")
    return bytes(data) + bytes(100)


def with_members(*infos: zipfile.ZipInfo) -> bytes:
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(target, "w") as opened:
            for info in infos:
                opened.writestr(info, b"data")
    return target.getvalue()


def tarred() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as opened:
        opened.addfile(tarfile.TarInfo("n1_x.jpg"), io.BytesIO())
    return target.getvalue()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a name upwards": (lambda: archive(("../../n1_x.jpg", b"")), "leads out of the folder"),
    "a name upwards on Windows": (lambda: archive(("a\\..\\..\\n1_x.jpg", b"")), "leads out of the folder"),
    "an absolute name": (lambda: archive(("/n1_x.jpg", b"")), "leads out of the folder"),
    "a name with a drive": (lambda: archive(("C:n1_x.jpg", b"")), "leads out of the folder"),
    "another's name upwards": (lambda: archive(*PHOTOS, ("../README", b"")), "leads out of the folder"),
    "a link": (lambda: with_members(member(kind=stat.S_IFLNK)), "a link, a device or a pipe"),
    "a device": (lambda: with_members(member(kind=stat.S_IFBLK)), "a link, a device or a pipe"),
    "a pipe": (lambda: with_members(member(kind=stat.S_IFIFO)), "a link, a device or a pipe"),
    "a name twice": (lambda: with_members(member(), member()), "is the second n1_x.jpg"),
    "another's name twice": (lambda: with_members(member("a"), member("a")), "is the second a"),
    "encrypted": (lambda: patched(8, 1), "is encrypted"),
    "compressed by bzip2": (lambda: patched(10, 12), "method 12"),
    "compressed by LZMA": (lambda: patched(10, 14), "method 14"),
    "compressed by nobody knows what": (lambda: patched(10, 99), "method 99"),
    "a long name": (lambda: archive((f"n1_{'x' * 300}.jpg", b"")), "a name of more than 255 bytes"),
    "a photo that is too large": (lambda: archive(("n1_x.jpg", bytes(21 * 2**20))), "20,971,520 are allowed"),
    "a photo that says so": (lambda: with_declared_size(2**31), "2,147,483,648 bytes"),
    "a photo of zeros": (lambda: flat(1, 10 * 2**20), "10,485,760 bytes"),
    "many photos of zeros": (lambda: flat(300, 60_000), "18,000,000 bytes"),
    "zeros that nobody wants": (lambda: flat(1, 30 * 2**20, "{}.bin"), "31,457,280 bytes"),
    "photos that share bytes": (overlapping_members, "2,048 compressed"),
    "a list that is too long": (long_directory, "directory"),
    "a tar file": (tarred, "not a zip file"),
    "an error page": (lambda: b"<html>log in first</html>", "not a zip file"),
    "nothing": (lambda: b"", "not a zip file"),
    "half an archive": (lambda: archive(*PHOTOS)[:60], "not a zip file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_is_written(
    refused: Callable[[bytes], str], name: str
) -> None:
    make, reason = HOSTILE[name]
    message = refused(make())
    assert reason in message
    assert len(message.splitlines()) == 1
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("bound", "value", "reason"),
    [
        ("MAX_MEMBERS", 2, "it has 3 members, 2 are allowed"),
        ("MAX_TOTAL_BYTES", 7, "its members have 8 bytes, 7 are allowed"),
        ("MAX_READ_BYTES", 100, "100 are allowed"),
    ],
)
def test_an_archive_has_bounds(
    refused: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch, bound: str, value: int, reason: str
) -> None:
    monkeypatch.setattr(archives, bound, value)
    assert reason in refused(archive(*PHOTOS, ("README", b"it")))


def test_an_archive_that_would_fill_the_disk_is_refused(
    refused: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
    assert "its photos have 6 bytes, and 5 are free" in refused(archive(*PHOTOS))


def first(path: Path) -> bytes:
    """The first photo of an archive."""
    with archives.open_archive(path) as opened:
        return archives.read_photo(
            opened, archives.select_photos(opened, path, re.compile(CLASSES), path.parent)[0]
        )


def test_a_photo_that_is_longer_than_it_says_is_not_unpacked_to_its_end(tmp_path: Path) -> None:
    data = bytearray(flat(1, 10 * 2**20, "n{}_x.jpg"))
    directory = data.index(b"PK\x01\x02")
    for place in (22, directory + 24):
        data[place : place + 4] = (100).to_bytes(4, "little")
    path = tmp_path / "photos.zip"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveInvalid, match="CRC"):
            first(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_nobody_asks_for_does_no_harm(tmp_path: Path) -> None:
    beside = member("__MACOSX/top/._n1_x.jpg")
    data = with_members(member("link", kind=stat.S_IFLNK), member("top/n1_x.jpg"), beside)
    with serving(FileServer(data)) as url:
        raw = recipe(tmp_path / "raw", url, content(("n1_x.jpg", b"data")))
        assert unpacked(raw, tmp_path / "keras") == {"n1/n1_x.jpg": b"data"}


@pytest.mark.parametrize("announced", [True, False])
def test_a_download_has_a_bound(tmp_path: Path, announced: bool) -> None:
    files = FileServer(bytes(MAX_BYTES + 1))
    files.sends_length = announced
    with serving(files) as url, pytest.raises(SourceUnavailable, match="more than 1,000,000 bytes"):
        cached_download(url, tmp_path, "datasets", "the photos", MAX_BYTES)
    assert list((tmp_path / "datasets").iterdir()) == []


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("n1_x.jpg", bytes(range(256)) * 50)
    data = bytearray(target.getvalue())
    data[60:80] = b"\xff" * 20
    with serving(FileServer(bytes(data))) as url:
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
        cached_download("file:///etc/photos.zip", tmp_path, "datasets", "the photos", MAX_BYTES)


def test_a_folder_without_a_recipe_is_the_data(tmp_path: Path) -> None:
    with open_source(tmp_path, Environment(None, tmp_path, experiment=False)) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize("name", ["cat/1.jpg", "train/cat/1.jpg", "empty", "1.JPG", "scan.tiff"])
def test_photos_beside_a_recipe_are_not_ignored(tmp_path: Path, name: str) -> None:
    raw = recipe(tmp_path / "raw", NOWHERE, "f" * 64)
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    if "." in name:
        (raw / name).write_bytes(b"photo")
    else:
        (raw / name).mkdir()
    with pytest.raises(SourceInvalid, match=rf"{name.split('/')[0]} beside it would be ignored"):
        unpacked(raw, tmp_path / "keras")


@pytest.mark.parametrize("name", ["README.md", ".DS_Store", "__MACOSX/1.jpg", ".git/x", "photos.zip"])
def test_what_is_no_photo_may_lie_beside_a_recipe(tmp_path: Path, name: str) -> None:
    with serving(FileServer(archive(*PHOTOS))) as url:
        raw = recipe(tmp_path / "raw", url, content(*PHOTOS))
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(b"x")
        assert unpacked(raw, tmp_path / "keras")
