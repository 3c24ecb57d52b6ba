"""Reads MLflow's SQLite database, read-only."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serving.artifact.registry.address import SQLITE
from serving.artifact.registry.errors import RegistryUnavailable

# The tag of a version that holds the bundle's digest. `pipeline.registry.mlflow_version` sets it.
DIGEST_TAG = "digest"
# MLflow keeps the rows of deleted versions, with this stage.
DELETED_STAGE = "Deleted_Internal"
LOCK_TIMEOUT_SECONDS = 10.0


def find_in_database(uri: str, name: str, digest: str) -> tuple[int, str] | None:
    """Number and file location of the first version with this digest."""
    row = _find_first(uri, name, digest)
    return (int(row[0]), str(row[1])) if row else None


def find_run_in_database(uri: str, name: str, digest: str) -> str | None:
    """Where the artifacts of the run are that made this version; None without version or run."""
    row = _find_first(uri, name, digest)
    return str(row[2]) if row and row[2] else None


def find_alias_in_database(uri: str, name: str, alias: str) -> tuple[int, str | None] | None:
    """Number and digest of the version with an alias; None instead of a digest if it has no such tag."""
    query = """
        SELECT version, tag.value
        FROM registered_model_aliases JOIN model_versions USING (workspace, name, version)
        LEFT JOIN (SELECT * FROM model_version_tags WHERE "key" = ?) AS tag USING (workspace, name, version)
        WHERE name = ? AND alias = ? AND current_stage IS NOT ? LIMIT 1
    """
    row = _first_row(uri, query, (DIGEST_TAG, name, alias, DELETED_STAGE))
    return (int(row[0]), None if row[1] is None else str(row[1])) if row else None


def _find_first(uri: str, name: str, digest: str) -> tuple[Any, ...] | None:
    """Number, file location and location of the run of the first version with this digest."""
    query = """
        SELECT version, COALESCE(storage_location, source),
               (SELECT artifact_uri FROM runs WHERE run_uuid = model_versions.run_id)
        FROM model_versions JOIN model_version_tags AS tag USING (workspace, name, version)
        WHERE name = ? AND tag."key" = ? AND tag.value = ? AND current_stage IS NOT ?
        ORDER BY version LIMIT 1
    """
    return _first_row(uri, query, (name, DIGEST_TAG, digest, DELETED_STAGE))


def _first_row(uri: str, query: str, values: tuple[str, ...]) -> tuple[Any, ...] | None:
    path = Path(uri.removeprefix(SQLITE).partition("?")[0]).absolute()
    try:
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", timeout=LOCK_TIMEOUT_SECONDS, uri=True)
        with closing(database):
            row: tuple[Any, ...] | None = database.execute(query, values).fetchone()
    except sqlite3.Error as error:
        raise RegistryUnavailable(uri, f"{error}, in the file {path}") from None
    return row
