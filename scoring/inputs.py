"""Lists the images to score: those of a folder, of a text file, or of a column of a table."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from scoring.errors import ColumnMissing, InputEmpty, InputUnreadable, OptionUnavailable
from scoring.storage import is_remote, list_remote, read_remote

# The column of a table that has the paths, unless another one is named.
COLUMN = "path"
TABLES, LISTS = (".csv", ".parquet"), (".txt", ".lst", ".list")
STDIN = "-"


class Images(NamedTuple):
    """`entries` are sorted and unique paths, as the input names them; relative ones are below `root`.

    Undecodable bytes of file names are kept as surrogates (PEP 383).
    """

    root: str
    entries: list[str]
    repeated: int


def list_images(
    source: str, column: str | None = None, root: str | None = None, out: str | None = None
) -> Images:
    """All images of a folder, a text file, a table or an address of one of them; "-" is stdin.

    Without the files below `out`, the results of a run before, which may lie in the folder of the images.
    Raises a `ScoringError`.
    """
    try:
        found, default_root = _entries(source, column)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputUnreadable(source, getattr(error, "strerror", None) or str(error)) from None
    folder = _absolute(default_root if root is None else root)
    results = None if out is None else _below(_absolute(out), folder)
    if results == "":
        raise OptionUnavailable(f"--out {out}", "it is the folder of the images")
    listed = [entry for entry in found if entry and not (results and entry.startswith(results))]
    if not listed:
        raise InputEmpty(source)
    entries = sorted(set(listed), key=os.fsencode)
    return Images(folder, entries, len(listed) - len(entries))


def _absolute(folder: str) -> str:
    """Workers on a cluster run in other folders."""
    return folder.rstrip("/") if is_remote(folder) else os.path.abspath(folder)  # noqa: PTH100  (`resolve` follows links)


def _below(path: str, folder: str) -> str | None:
    """The path relative to the folder, with a slash at the end; empty for the folder, None if elsewhere."""
    if path == folder:
        return ""
    return path.removeprefix(f"{folder}/") + "/" if path.startswith(f"{folder}/") else None


def _entries(source: str, column: str | None) -> tuple[Iterable[str], str]:
    """What the input names, and the folder that relative paths are below."""
    suffix = Path(source).suffix.lower()
    if source == STDIN:
        return _lines(sys.stdin.buffer.read()), "."
    if suffix not in TABLES + LISTS:
        return list(_remote_files(source) if is_remote(source) else _local_files(source)), source
    parent = source.rsplit("/", 1)[0] if is_remote(source) else str(Path(source).parent)
    data = _read(source)
    return (_lines(data) if suffix in LISTS else _column(source, suffix, data, column)), parent


def _read(source: str) -> bytes:
    return read_remote(source) if is_remote(source) else Path(source).read_bytes()


def _lines(data: bytes) -> list[str]:
    """One path a line; or, if there are NUL bytes, one between each two of them, as `find -print0` writes."""
    parts = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(part) for part in parts]


def _column(source: str, suffix: str, data: bytes, column: str | None) -> list[str]:
    """The paths of a table, as text; empty ones for nulls."""
    buffer = pa.BufferReader(data)
    if suffix == ".csv":
        # As text: a column of numbers may be the names of files.
        names = csv.open_csv(pa.BufferReader(data)).schema.names
        name = _column_name(source, column, names)
        options = csv.ConvertOptions(include_columns=[name], column_types={name: pa.string()})
        table = csv.read_csv(buffer, convert_options=options)
    else:
        name = _column_name(source, column, parquet.read_schema(buffer).names)
        table = parquet.read_table(pa.BufferReader(data), columns=[name])
    values: list[str] = pc.fill_null(table.column(name).cast(pa.string()), "").to_pylist()
    return values


def _column_name(source: str, column: str | None, names: list[str]) -> str:
    """The column asked for; else `path`, or the only one."""
    if column is None and len(names) == 1:
        return names[0]
    if (column or COLUMN) not in names:
        raise ColumnMissing(source, column, names)
    return column or COLUMN


def _local_files(folder: str) -> Iterator[str]:
    """All files below a folder, relative to it; without hidden ones, which systems leave behind.

    Links to files are followed, links to folders are not: they may lead around in circles.
    """
    if not stat.S_ISDIR(Path(folder).stat().st_mode):
        raise NotADirectoryError(0, "it is neither a folder nor a text file (.txt) nor a table")

    def refuse(error: OSError) -> None:
        raise OSError(error.errno, f"{error.filename}: {error.strerror}")

    for current, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(current, folder)
        yield from (os.path.normpath(f"{below}/{name}") for name in files if not name.startswith("."))


def _remote_files(url: str) -> Iterator[str]:
    """The same for an address, whose listing may have no folders."""
    for relative in list_remote(url):
        if not any(part.startswith(".") for part in relative.split("/")):
            yield relative
