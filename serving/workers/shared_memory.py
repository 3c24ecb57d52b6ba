"""Memory that all workers share by its name: a file of the shared folder, mapped by each of them."""

import mmap
import os
from contextlib import suppress
from tempfile import NamedTemporaryFile

from serving.workers.shared_folder import SharedFolder


def open_shared_memory(folder: SharedFolder, name: str, start: bytes, size: int) -> mmap.mmap:
    """Maps a file of `size` bytes; the first process makes it, of the bytes `start` and zeros.

    Raises `OSError` if there is no room for it.
    """
    path = folder / name
    if not path.exists():
        with NamedTemporaryFile(dir=folder.path) as file:
            # Zeros are written rather than left out: where memory has run out, the first access to a page
            # that was left out ends the process (SIGBUS).
            file.write(start.ljust(size, b"\0"))
            file.flush()
            # Another worker may have been faster; then all use its file.
            with suppress(FileExistsError):
                os.link(file.name, path)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), size)
