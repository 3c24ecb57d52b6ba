"""The embedded MLflow registry: `mlflow.db` and `mlartifacts/` at the root of the project.

MLflow stores absolute artifact paths in the database. In a copied or moved project these paths still lead to
the original folder, where new versions would be written too.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock

from pipeline.environment import Environment
from pipeline.errors import RegistryMoved, RegistryUnavailable
from serving.artifact.registry.address import SQLITE

DATABASE, ARTIFACTS = Path("mlflow.db"), Path("mlartifacts")
# The columns in which MLflow stores artifact paths.
PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
# Seconds to wait while another process holds a lock on the database.
LOCK_TIMEOUT = 10.0


def registry_uri(environment: Environment) -> str:
    """The tracking URI, by default that of the embedded database.

    SQLite paths are made absolute: an experiment of `dvc exp run` may run in another folder.
    """
    uri = environment.tracking_uri or f"{SQLITE}{DATABASE}"
    local = uri.startswith(SQLITE)
    return f"{SQLITE}{(environment.project_folder / uri.removeprefix(SQLITE)).absolute()}" if local else uri


def is_embedded(uri: str) -> bool:
    return uri.startswith("sqlite:")


def lock_embedded(uri: str) -> AbstractContextManager[object]:
    """Locks an embedded registry, so that one process at a time creates its tables or a version."""
    return EmbeddedDatabase.at(uri).lock() if is_embedded(uri) else nullcontext()


@dataclass(frozen=True)
class EmbeddedDatabase:
    """The SQLite file of an embedded registry."""

    path: Path

    @classmethod
    def at(cls, uri: str) -> Self:
        """The database of a `sqlite:` URI."""
        return cls(Path(uri.removeprefix(SQLITE).partition("?")[0]))

    @classmethod
    def of_project(cls, environment: Environment) -> Self | None:
        """The project's own database; `None` if the environment names another registry."""
        own, uri = cls((environment.project_folder / DATABASE).absolute()), registry_uri(environment)
        return own if is_embedded(uri) and cls.at(uri) == own else None

    @property
    def artifacts(self) -> Path:
        """The artifact folder beside the database; symbolic links are resolved."""
        return (self.path.parent / ARTIFACTS).resolve()

    def lock(self) -> AbstractContextManager[object]:
        """Excludes other processes from changing the registry."""
        return FileLock(f"{self.path}.lock")

    def check_location(self) -> None:
        """Raises `RegistryMoved` if the database keeps its artifacts in another folder."""
        for folder in self.foreign_artifact_folders():
            raise RegistryMoved(self.path, folder, self.artifacts)

    def foreign_artifact_folders(self) -> list[Path]:
        """The folders named `mlartifacts` that the database refers to, other than its own."""
        if not self.path.exists():
            return []
        with self._open("ro") as connection:
            rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        folders = {_local_path(str(location)) for (location,) in rows}
        own = self.artifacts
        return sorted(it for it in folders if it and it.name == own.name and it != own)

    def relocate(self, old: Path, new: Path) -> int:
        """Replaces `old` with `new` in all stored paths below `old`; returns how many were changed.

        One transaction: all of them are changed, or none.
        """
        changed = 0
        with self._open("rw") as connection, connection:
            for table, column in PATH_COLUMNS:
                for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                    # Names of tables and columns come from PATH_COLUMNS only.
                    changed += connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (after, len(before) + 1, before, len(before) + 1, f"{before}/"),
                    ).rowcount
        return changed

    @contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        try:
            address = f"file:{quote(str(self.path))}?mode={mode}"
            with closing(sqlite3.connect(address, timeout=LOCK_TIMEOUT, uri=True)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise RegistryUnavailable(f"{SQLITE}{self.path}", str(error)) from error


def _local_path(location: str) -> Path | None:
    """The local folder of an artifact location; `None` if it is on a server or in a bucket."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if location.startswith("/") else None
