"""Finds the registered version with a digest, and reads its files."""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving.artifact.registry.address import NO_CREDENTIALS, SQLITE, Credentials, without_credentials
from serving.artifact.registry.database import find_in_database, find_run_in_database
from serving.artifact.registry.errors import (
    RegistryUnavailable,
    VersionDamaged,
    VersionMissing,
    quote_location,
)
from serving.artifact.registry.server import OnProgress, RegistryServer
from serving.artifact.signature import MAX_SIGNATURE_BYTES, SIGNATURE

# Reads a file by name: at most `limit` bytes and one more; None if it does not exist.
ReadFile = Callable[[str, int, OnProgress], bytes | None]


@dataclass(frozen=True)
class RegisteredVersion:
    """A registered version, whose files can be read."""

    name: str
    number: int
    registry: str
    read_file: ReadFile

    def __str__(self) -> str:
        return f"{self.name} version {self.number} at {without_credentials(self.registry)}"

    def read(self, file: str, sha256: str, size: int, on_progress: OnProgress) -> bytes:
        """The bytes of a file, after its SHA-256 was checked. Raises `VersionDamaged`."""
        data = self.read_file(file, size, on_progress)
        if data is None:
            raise VersionDamaged(str(self), file, "is not there")
        if len(data) > size:
            raise VersionDamaged(str(self), file, f"has more than {size:,} bytes")
        if (digest := hashlib.sha256(data).hexdigest()) != sha256:
            raise VersionDamaged(str(self), file, f"should have the SHA-256 {sha256} and has {digest}")
        return data


def find_version(
    name: str, digest: str, uri: str, credentials: Credentials = NO_CREDENTIALS
) -> RegisteredVersion:
    """The version with this digest, the first one if there are several. Raises `VersionMissing`."""
    if uri.startswith(SQLITE):
        server, found = None, find_in_database(uri, name, digest)
    else:
        server = RegistryServer.at(uri, credentials)
        found = server.find(name, digest)
    if found is None:
        raise VersionMissing(uri, name, digest)
    number, location = found
    return RegisteredVersion(name, number, uri, _reader_of(location, uri, server))


def find_signature(
    name: str, digest: str, uri: str, credentials: Credentials = NO_CREDENTIALS
) -> bytes | None:
    """The signature of the version with this digest, at most one byte beyond the limit; None if it has none.

    It is an artifact of the version's run. Beside the version's files it would be one that the manifest does
    not name, and `mlflow.pyfunc.load_model` refuses those.
    """
    if uri.startswith(SQLITE):
        server, location = None, find_run_in_database(uri, name, digest)
    else:
        server = RegistryServer.at(uri, credentials)
        location = server.find_run(name, digest)
    if not location:
        return None
    return _reader_of(location, uri, server)(SIGNATURE, MAX_SIGNATURE_BYTES, lambda _: None)


def _reader_of(location: str, uri: str, server: RegistryServer | None) -> ReadFile:
    """As `_reader`; a location that is no address becomes `RegistryUnavailable`."""
    try:
        return _reader(location, uri, server)
    except ValueError as error:
        reason = f"it says that the files are at {quote_location(location)}, which is no address ({error})"
        raise RegistryUnavailable(uri, reason) from None


def _reader(location: str, uri: str, server: RegistryServer | None) -> ReadFile:
    """The function that reads files at a location: a local folder or the server's artifact proxy."""
    scheme = re.match(r"[a-z][a-z0-9+.-]+:", location)
    if scheme is None or scheme[0] == "file:":
        folder = Path(unquote(urlsplit(location).path) if scheme else location)
        # Path.is_dir raises an error for a name that no folder can have.
        if os.path.isdir(folder):  # noqa: PTH112
            return partial(_read_from_folder, folder)
        where = f"in {quote_location(str(folder))}, a folder that is not on this machine "
        where += "(if the project was moved, `python -m pipeline repair` mends that)"
    elif scheme[0] == "mlflow-artifacts:" and server is not None:
        return server.artifact_reader(location)
    else:
        where = f"at {quote_location(location)}, which is not read from here"
    advice = "`mlflow server --serve-artifacts` serves the files of versions that are registered through it"
    raise RegistryUnavailable(uri, f"the files of the version are {where}; {advice}")


def _read_from_folder(folder: Path, name: str, limit: int, on_progress: OnProgress) -> bytes | None:
    path = folder / name
    if not path.is_file():
        return None
    with path.open("rb") as file:
        data = file.read(limit + 1)
    on_progress(len(data))
    return data
