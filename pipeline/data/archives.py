"""Zip files of others: all that one claims to hold is looked at before a byte of it is written.

Only what a recipe asks for is unpacked, so links and the like elsewhere in an archive do no harm.
"""

import io
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.data import ignored_files
from pipeline.errors import ArchiveInvalid
from serving.model.decoder import MAX_BYTES

# More photos than that, unpack them yourself into class folders: nothing limits those.
MEMBERS, TOTAL_BYTES = 200_000, 64 * 2**30
# The list of members is read at once: 160 bytes each as a rule. Nothing else is read in such pieces.
PIECE_BYTES = 32 * 2**20
# Photos hardly shrink, and flat pictures by some tens; deflate ends at 1032.
RATIO, ALWAYS_BYTES = 200, 64 * 1024
# Names that file systems take.
NAME_BYTES = 255
# How zipfile says that a file is damaged, or beyond it.
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)


@dataclass(frozen=True)
class Photo:
    """A member that a recipe asks for, the class that its name tells, and the name that it will have."""

    member: zipfile.ZipInfo
    label: str
    name: str


class _Pieces(io.FileIO):
    """A file that gives no more than some bytes at once, whatever an archive says of its own parts."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if wanted > PIECE_BYTES:
            raise zipfile.BadZipFile(f"a part of it has {wanted:,} bytes, {PIECE_BYTES:,} are allowed")
        return super().read(wanted) or b""


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive that is read with bounds; whatever is wrong with it becomes an `ArchiveInvalid`."""
    try:
        with _Pieces(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except BROKEN as error:
        raise ArchiveInvalid(path, str(error) or type(error).__name__) from None


def photos(archive: zipfile.ZipFile, path: Path, wanted: re.Pattern[str], folder: Path) -> list[Photo]:
    """What is to be unpacked into `folder`, in the order of names; `ArchiveInvalid` unless all is well."""
    members = sorted(archive.infolist(), key=lambda member: member.filename)
    found = [
        (member, wanted.search(member.filename))
        for member in members
        # macOS puts a file beside each photo, of almost the same name.
        if not member.is_dir() and ignored_files.kind(PurePosixPath(member.filename).parts) is None
    ]
    chosen = [Photo(member, match["class"], _last(member)) for member, match in found if match is not None]
    total = sum(photo.member.file_size for photo in chosen)
    for reason in (
        *_of_all(members, path.stat().st_size),
        *(reason for photo in chosen for reason in _of_one(photo)),
        *_twice([(f"{photo.name} of class {photo.label}", photo.member) for photo in chosen]),
        *_space(total, shutil.disk_usage(folder).free),
    ):
        raise ArchiveInvalid(path, reason)
    return chosen


def unpacked(archive: zipfile.ZipFile, photo: Photo) -> bytes:
    """The bytes of a photo, as many as the archive says, whatever comes out when it is decompressed."""
    with archive.open(photo.member) as file:
        return file.read(photo.member.file_size)


def _of_all(members: list[zipfile.ZipInfo], size: int) -> Iterator[str]:
    """What is wrong with an archive of `size` bytes as a whole."""
    total, packed = (
        sum(getattr(member, key) for member in members) for key in ("file_size", "compress_size")
    )
    if len(members) > MEMBERS:
        yield f"it has {len(members):,} members, {MEMBERS:,} are allowed"
    if total > TOTAL_BYTES:
        yield f"its members have {total:,} bytes, {TOTAL_BYTES:,} are allowed"
    # Also when members share their bytes, so that each of them looks well.
    if packed > size or total > ALWAYS_BYTES + RATIO * size:
        yield f"its members have {total:,} bytes, {packed:,} compressed, and it has {size:,} itself"
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", member.filename):
            yield f"{member.filename!r} leads out of the folder"
    yield from _twice([(member.filename, member) for member in members if not member.is_dir()])


def _of_one(photo: Photo) -> Iterator[str]:
    """What is wrong with a member that would be unpacked."""
    member, name = photo.member, photo.member.filename
    kind = stat.S_IFMT(member.external_attr >> 16)
    if not photo.label or photo.label in (".", "..") or "/" in photo.label:
        yield f"{name} has {photo.label!r} for its class"
    elif max(len(os.fsencode(part)) for part in (photo.label, photo.name)) > NAME_BYTES:
        yield f"{name[:NAME_BYTES]}... is a name of more than {NAME_BYTES} bytes"
    if kind not in (0, stat.S_IFREG):
        yield f"{name} is a link, a device or a pipe, and not a file"
    if member.flag_bits & 1:
        yield f"{name} is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield f"{name} is compressed otherwise than zip files are as a rule (method {member.compress_type})"
    if max(member.file_size, member.compress_size) > MAX_BYTES:
        yield f"{name} has {member.file_size:,} bytes, {MAX_BYTES:,} are allowed"
    if member.file_size > ALWAYS_BYTES + RATIO * member.compress_size:
        yield f"{name} has {member.file_size:,} bytes, and {member.compress_size:,} compressed"


def _twice(named: list[tuple[str, zipfile.ZipInfo]]) -> Iterator[str]:
    """Names that stand for two members: one would be lost."""
    seen: set[str] = set()
    for name, member in named:
        if name in seen:
            yield f"{member.filename} is the second {name}"
        seen.add(name)


def _space(total: int, free: int) -> Iterator[str]:
    if total > free:
        yield f"its photos have {total:,} bytes, and {free:,} are free where they would be unpacked"


def _last(member: zipfile.ZipInfo) -> str:
    return PurePosixPath(member.filename).name
