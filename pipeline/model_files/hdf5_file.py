"""Checks an HDF5 file before Keras reads it: it must hold its own data, and no more than it seems to.

HDF5 can refer to other files (external links, external storage, virtual datasets), whose content would become
weights of the model (CVE-2026-1669), and can declare datasets of any size that take no space in the file
(CVE-2026-0897).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.errors import ModelFileInvalid, ModelFileUnsafe

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Of all that is not data of datasets: attributes, names, and free space. NASNetLarge has 8 MB of it.
MAX_METADATA_BYTES = 2**26
# Of the values of all datasets. The largest network of keras.applications has 1.4 GB.
MAX_DATA_BYTES = 2**33
MAX_OBJECTS = 200_000
# Compressed weights are smaller by a factor of two at most; zeros compress to a thousandth.
MAX_EXPANSION, SMALL_BYTES = 200, 2**24
MISTAKE = "No file that Keras writes has that; do not use it unless you know why it does"


@contextmanager
def open_checked(file: Path, path: Path) -> Iterator[h5py.File]:
    """Opens an HDF5 file for reading after it was checked; `path` is the file to name in errors.

    Raises `ModelFileInvalid` or `ModelFileUnsafe`.
    """
    try:
        with h5py.File(file, "r") as opened:
            check(opened, path)
            yield opened
    # h5py raises these for damaged files.
    except (OSError, RuntimeError, KeyError) as error:
        reason = f"it is a damaged HDF5 file ({' '.join(str(error).split())[:200]})"
        raise ModelFileInvalid(path, reason) from error


def check(file: h5py.File, path: Path) -> None:
    """Raises unless everything in the file is in the file itself and has a plausible size."""
    stored = declared = 0
    for name, dataset in _datasets(file, path):
        _check_storage(name, dataset, path)
        size = math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize
        on_disk = dataset.id.get_storage_size()
        if size > SMALL_BYTES and size > MAX_EXPANSION * on_disk:
            reason = f"its dataset {name} declares {size:,} bytes and stores {on_disk:,}"
            raise ModelFileUnsafe(path, reason, MISTAKE)
        stored, declared = stored + on_disk, declared + size
    if declared > MAX_DATA_BYTES:
        raise ModelFileInvalid(path, f"its weights take {declared:,} bytes; the limit is {MAX_DATA_BYTES:,}")
    if (rest := file.id.get_filesize() - stored) > MAX_METADATA_BYTES:
        reason = f"it has {rest:,} bytes besides its weights; the limit is {MAX_METADATA_BYTES:,}"
        raise ModelFileInvalid(path, reason)


def _datasets(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets by name. Raises for a link that leads elsewhere than to an object of this file."""
    stack: list[tuple[str, Any]] = [("", file)]
    # A hard link to a group that contains it would never end.
    seen: set[Any] = set()
    while stack:
        prefix, group = stack.pop()
        for name in group:
            full = f"{prefix}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                target = getattr(link, "filename", "") or getattr(link, "path", "")
                reason = f"{full} is a {type(link).__name__} to {target!r}"
                raise ModelFileUnsafe(path, reason, MISTAKE)
            member = group[name]
            address = h5py.h5o.get_info(member.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise ModelFileInvalid(path, f"it has over {MAX_OBJECTS:,} groups and datasets")
            if isinstance(member, h5py.Group):
                stack.append((full, member))
            elif isinstance(member, h5py.Dataset):
                yield full, member


def _check_storage(name: str, dataset: h5py.Dataset, path: Path) -> None:
    if dataset.external:
        reason = f"the values of {name} are in another file, {dataset.external[0][0]!r}"
        raise ModelFileUnsafe(path, reason, MISTAKE)
    if dataset.is_virtual:
        raise ModelFileUnsafe(path, f"the values of {name} are in other files (virtual dataset)", MISTAKE)
    properties = dataset.id.get_create_plist()
    known = (
        h5py.h5z.FILTER_DEFLATE,
        h5py.h5z.FILTER_SHUFFLE,
        h5py.h5z.FILTER_FLETCHER32,
        h5py.h5z.FILTER_LZF,
    )
    for index in range(properties.get_nfilters()):
        if properties.get_filter(index)[0] not in known:
            raise ModelFileUnsafe(path, f"{name} needs a filter that is not part of HDF5", MISTAKE)


def text_attribute(group: h5py.Group, name: str) -> str | None:
    """A text attribute; None if there is none, or it is something else. `check` has bounded its size."""
    if name not in group.attrs:
        return None
    value = group.attrs[name]
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
