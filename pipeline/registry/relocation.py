"""The absolute paths that MLflow keeps in the embedded database.

A moved or copied project still has the old ones. In a copy they lead to the original's files: what is
registered here would be written there.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pipeline.errors import RegistryUnavailable

# Where MLflow's tables hold the place of files.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
PATIENCE = 10.0


def foreign(database: Path, artifacts: Path) -> list[Path]:
    """The folders called like `artifacts` where the database has its files, other than `artifacts` itself."""
    if not database.exists():
        return []
    with _opened(database, "ro") as connection:
        rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    folders = {_folder(str(location)) for (location,) in rows}
    return sorted(it for it in folders if it and it.name == artifacts.name and it != artifacts)


def relocate(database: Path, there: Path, here: Path) -> int:
    """Lets all paths below `there` lead to `here`; gives how many there were. All are changed, or none."""
    changed = 0
    with _opened(database, "rw") as connection, connection:
        for table, column in COLUMNS:
            for old, new in ((there.as_uri(), here.as_uri()), (str(there), str(here))):
                # Names of tables and columns are those above.
                changed += connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                ).rowcount
    return changed


def _folder(location: str) -> Path | None:
    """The folder of this machine that a location is; `None` if it is a server's or a bucket's."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if location.startswith("/") else None


@contextmanager
def _opened(database: Path, mode: str) -> Iterator[sqlite3.Connection]:
    try:
        address = f"file:{quote(str(database))}?mode={mode}"
        with closing(sqlite3.connect(address, timeout=PATIENCE, uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise RegistryUnavailable(f"sqlite:///{database}", str(error)) from error
