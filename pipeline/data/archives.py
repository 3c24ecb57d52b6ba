"""Unpacks photos from untrusted zip files: all members are checked before anything is written.

Only the members that a recipe selects are unpacked; links and devices elsewhere in an archive are ignored.
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

# Larger collections can be unpacked by hand into class folders, which have no limit.
MAX_MEMBERS, MAX_TOTAL_BYTES = 200_000, 64 * 2**30
# zipfile reads the central directory at once, usually 160 bytes a member; no other read is that large.
MAX_READ_BYTES = 32 * 2**20
# Limit against zip bombs. Photos hardly shrink, flat images by a factor of some tens; deflate can reach 1032.
MAX_RATIO, RATIO_EXEMPT_BYTES = 200, 64 * 1024
# The longest name that common file systems accept.
MAX_NAME_BYTES = 255
# What zipfile raises for damaged or unsupported files.
ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)


@dataclass(frozen=True)
class ArchivedPhoto:
    """A member that the recipe selects, its class, and the file name that it is unpacked to."""

    member: zipfile.ZipInfo
    label: str
    name: str


class _BoundedFile(io.FileIO):
    """A file that refuses single reads of more than `MAX_READ_BYTES`, whatever sizes the archive claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if wanted > MAX_READ_BYTES:
            raise zipfile.BadZipFile(f"a part of it has {wanted:,} bytes, {MAX_READ_BYTES:,} are allowed")
        return super().read(wanted) or b""


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens an archive with bounded reads; every fault in it is raised as `ArchiveInvalid`."""
    try:
        with _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except ZIP_ERRORS as error:
        raise ArchiveInvalid(path, str(error) or type(error).__name__) from None


def select_photos(
    archive: zipfile.ZipFile, path: Path, pattern: re.Pattern[str], folder: Path
) -> list[ArchivedPhoto]:
    """The members to unpack into `folder`, sorted by name; raises `ArchiveInvalid` at the first problem."""
    members = sorted(archive.infolist(), key=lambda member: member.filename)
    matches = [
        (member, pattern.search(member.filename))
        for member in members
        # macOS adds a file with almost the same name to each photo.
        if not member.is_dir() and ignored_files.ignore_reason(PurePosixPath(member.filename).parts) is None
    ]
    photos = [
        ArchivedPhoto(member, match["class"], PurePosixPath(member.filename).name)
        for member, match in matches
        if match is not None
    ]
    total = sum(photo.member.file_size for photo in photos)
    for problem in (
        *_archive_problems(members, path.stat().st_size),
        *(problem for photo in photos for problem in _photo_problems(photo)),
        *_name_collisions([(f"{photo.name} of class {photo.label}", photo.member) for photo in photos]),
        *_disk_space_problems(total, shutil.disk_usage(folder).free),
    ):
        raise ArchiveInvalid(path, problem)
    return photos


def read_photo(archive: zipfile.ZipFile, photo: ArchivedPhoto) -> bytes:
    """The decompressed bytes of a photo, never more than the archive declares."""
    with archive.open(photo.member) as file:
        return file.read(photo.member.file_size)


def _archive_problems(members: list[zipfile.ZipInfo], archive_bytes: int) -> Iterator[str]:
    total, packed = (
        sum(getattr(member, key) for member in members) for key in ("file_size", "compress_size")
    )
    if len(members) > MAX_MEMBERS:
        yield f"it has {len(members):,} members, {MAX_MEMBERS:,} are allowed"
    if total > MAX_TOTAL_BYTES:
        yield f"its members have {total:,} bytes, {MAX_TOTAL_BYTES:,} are allowed"
    # Also detects overlapping members, each of which is within the ratio by itself.
    if packed > archive_bytes or total > RATIO_EXEMPT_BYTES + MAX_RATIO * archive_bytes:
        yield f"its members have {total:,} bytes, {packed:,} compressed, and it has {archive_bytes:,} itself"
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", member.filename):
            yield f"{member.filename!r} leads out of the folder"
    yield from _name_collisions([(member.filename, member) for member in members if not member.is_dir()])


def _photo_problems(photo: ArchivedPhoto) -> Iterator[str]:
    member, name = photo.member, photo.member.filename
    file_type = stat.S_IFMT(member.external_attr >> 16)
    if not photo.label or photo.label in (".", "..") or "/" in photo.label:
        yield f"{name} has {photo.label!r} for its class"
    elif max(len(os.fsencode(part)) for part in (photo.label, photo.name)) > MAX_NAME_BYTES:
        yield f"{name[:MAX_NAME_BYTES]}... is a name of more than {MAX_NAME_BYTES} bytes"
    if file_type not in (0, stat.S_IFREG):
        yield f"{name} is a link, a device or a pipe, and not a file"
    if member.flag_bits & 1:
        yield f"{name} is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield f"{name} has an unsupported compression (method {member.compress_type})"
    if max(member.file_size, member.compress_size) > MAX_BYTES:
        yield f"{name} has {member.file_size:,} bytes, {MAX_BYTES:,} are allowed"
    if member.file_size > RATIO_EXEMPT_BYTES + MAX_RATIO * member.compress_size:
        yield f"{name} has {member.file_size:,} bytes, and {member.compress_size:,} compressed"


def _name_collisions(named: list[tuple[str, zipfile.ZipInfo]]) -> Iterator[str]:
    """Members with the name of an earlier one, which they would overwrite."""
    seen: set[str] = set()
    for name, member in named:
        if name in seen:
            yield f"{member.filename} is the second {name}"
        seen.add(name)


def _disk_space_problems(total: int, free: int) -> Iterator[str]:
    if total > free:
        yield f"its photos have {total:,} bytes, and {free:,} are free where they would be unpacked"
