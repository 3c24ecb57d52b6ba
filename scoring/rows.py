"""The rows of the result, and their Parquet files."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import parquet

CLASS = pa.struct([("label", pa.string()), ("id", pa.string()), ("score", pa.float32())])
# A class's share of each place of the image, from top to bottom and left to right (serving/explanation).
EXPLANATION = pa.struct([("method", pa.string()), ("values", pa.list_(pa.list_(pa.float32())))])
SCHEMA = pa.schema(
    [
        # As the input names it; bytes that are not UTF-8 as \xNN.
        pa.field("path", pa.string(), nullable=False),
        # Of the file's bytes; null if they could not be read.
        ("sha256", pa.string()),
        # The most probable class. All of these are null if the image was refused.
        ("label", pa.string()),
        ("score", pa.float32()),
        ("top5", pa.list_(CLASS)),
        # Null too if the bundle has no such thresholds.
        ("label_set", pa.list_(pa.string())),
        ("familiar", pa.bool_()),
        ("explanation", EXPLANATION),
        pa.field("digest", pa.string(), nullable=False),
        # Null if the image was scored.
        ("error_code", pa.string()),
        ("error", pa.string()),
    ]
)
# The key of the metadata by which a part tells which run and which rows it has.
METADATA_KEY = b"goldfish"
# Strong, and still only some milliseconds for a part.
COMPRESSION, COMPRESSION_LEVEL = "zstd", 9


@dataclass(frozen=True)
class Row:
    """The result for one image; see `SCHEMA`."""

    path: str
    digest: str
    sha256: str | None = None
    label: str | None = None
    score: float | None = None
    top5: Sequence[Mapping[str, Any]] | None = None
    label_set: Sequence[str] | None = None
    familiar: bool | None = None
    explanation: Mapping[str, Any] | None = None
    error_code: str | None = None
    error: str | None = None


def printable(path: str) -> str:
    """A path as valid Unicode: undecodable bytes become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def to_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as a table."""
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    return pa.table(columns, schema=SCHEMA)


def to_parquet(table: pa.Table, metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a Parquet file; the same for the same table, metadata and version of Arrow."""
    text = json.dumps(metadata, sort_keys=True, separators=(",", ":"))
    sink = io.BytesIO()
    table = table.combine_chunks().replace_schema_metadata({METADATA_KEY: text.encode()})
    parquet.write_table(table, sink, compression=COMPRESSION, compression_level=COMPRESSION_LEVEL)
    return sink.getvalue()
