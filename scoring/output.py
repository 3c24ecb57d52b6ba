"""The folder of results: plan, parts and summary, each complete or not there."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from scoring.errors import RETRIED, OutputTaken
from scoring.plan import Part, Plan, identity
from scoring.rows import METADATA_KEY, to_parquet
from scoring.storage import is_remote, read_remote, write_remote
from serving.artifact.files import to_json

PLAN, SUMMARY = "plan.json", "run.json"
# The end of a temporary file's name; a killed run leaves it behind, and the next one removes it.
TEMPORARY = ".tmp"


class PartSummary(NamedTuple):
    """What `run.json` says of a part; `errors` are counts by code."""

    sha256: str
    images: int
    errors: dict[str, int]


class Output:
    """`folder` is a path or an address. Raises `OSError`."""

    def __init__(self, folder: str) -> None:
        stripped = folder.rstrip("/") or "/"
        # `s3://` alone is an address without a bucket, and not the folder `s3:`.
        self.folder = folder if is_remote(folder) and not is_remote(stripped) else stripped
        self._run = ""

    def begin(self, plan: Plan) -> None:
        """Writes the plan. Raises `OutputTaken` if the folder has another one."""
        document = plan.document()
        if (data := self._read(PLAN)) is None:
            self._write(PLAN, to_json(document))
        else:
            _compare(self.folder, data, document)
        self._run = identity(document)

    def is_finished(self, part: Part, retry: bool) -> bool:
        """Has this part been written by this run? With `retry`, one with failures that may pass has not."""
        if (data := self._read(part.name)) is None:
            return False
        try:
            table = _read_codes(data)
        # Truncated by a file system, or not ours.
        except pa.ArrowException:
            return False
        found = (table.schema.metadata or {}).get(METADATA_KEY)
        if found != self._metadata(part) or table.num_rows != len(part.entries):
            return False
        return not (retry and pc.any(pc.is_in(table["error_code"], pa.array(RETRIED))).as_py())

    def write_part(self, part: Part, tables: list[pa.Table]) -> None:
        """Writes the file of a part from the tables of its chunks, in order."""
        self._write(part.name, to_parquet(pa.concat_tables(tables), json.loads(self._metadata(part))))

    def summarise(self, plan: Plan) -> dict[str, Any] | None:
        """Writes `run.json` once the parts of all shards are there, and returns it; else None."""
        parts: dict[str, PartSummary] = {}
        for part in plan.parts():
            if (data := self._read(part.name)) is None:
                return None
            parts[part.name] = _summary(data)
        errors: dict[str, int] = {}
        for summary in parts.values():
            for code, count in summary.errors.items():
                errors[code] = errors.get(code, 0) + count
        planned = plan.document()
        document = {
            "plan": planned,
            "images": sum(summary.images for summary in parts.values()),
            "refused": sum(errors.values()),
            "errors": errors,
            "parts": {name: summary.sha256 for name, summary in parts.items()},
            "versions": {"python": platform.python_version(), **planned["versions"]},
        }
        self._write(SUMMARY, to_json(document))
        return document

    def _metadata(self, part: Part) -> bytes:
        text = json.dumps({"run": self._run, "part": part.number}, sort_keys=True, separators=(",", ":"))
        return text.encode()

    def _read(self, name: str) -> bytes | None:
        try:
            if is_remote(self.folder):
                return read_remote(f"{self.folder}/{name}")
            return Path(self.folder, name).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        """Object stores write a file as a whole. Elsewhere it gets its name when all of it is written."""
        if is_remote(self.folder):
            write_remote(f"{self.folder}/{name}", data)
            return
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        path = Path(self.folder, name)
        temporary = path.with_name(f".{name}.{os.getpid()}{TEMPORARY}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                # So that a machine that loses its power has no renamed file without its content.
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Removes temporary files of killed runs on this machine."""
        if is_remote(self.folder):
            return
        for path in Path(self.folder).glob(f".*{TEMPORARY}"):
            with suppress(OSError, ValueError):
                if not _is_running(int(path.name.removesuffix(TEMPORARY).rsplit(".", 1)[1])):
                    path.unlink()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read_codes(data: bytes) -> pa.Table:
    """The column `error_code` of a part."""
    # `parquet.read_table` imports pandas, which would make each run 0.2 s longer.
    return parquet.ParquetFile(pa.BufferReader(data)).read(columns=["error_code"])


def _summary(data: bytes) -> PartSummary:
    table = _read_codes(data)
    counted = pc.value_counts(table["error_code"].combine_chunks().drop_null()).to_pylist()
    errors = {entry["values"]: entry["counts"] for entry in counted}
    return PartSummary(hashlib.sha256(data).hexdigest(), table.num_rows, errors)


def _compare(folder: str, data: bytes, document: Mapping[str, Any]) -> None:
    try:
        found = json.loads(data)
        differences = [
            f"{key}: {_short(found.get(key))}, and now {_short(value)}"
            for key, value in document.items()
            if found.get(key) != value
        ]
    except (ValueError, AttributeError):
        differences = [f"{PLAN} is not as a run writes it"]
    if differences:
        raise OutputTaken(folder, differences)


def _short(value: object) -> str:
    return json.dumps(value, sort_keys=True) if not isinstance(value, str) else value[:12]
