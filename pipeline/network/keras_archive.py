"""`.keras` files whose bytes depend on the model alone.

The bytes that Keras writes differ each time: a date in metadata.json, times in the zip, and
`shared_object_id`s in config.json that are memory addresses (keras#15948). A file is made canonical once,
when it is saved; loading and saving it again does not give the same bytes.
"""

import io
import json
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# The earliest time that the zip format can represent.
EPOCH = (1980, 1, 1, 0, 0, 0)
DATE = "1980-01-01@00:00:00"


def to_bytes(model: Any) -> bytes:  # noqa: ANN401
    """Serialises a Keras model as canonical bytes. It must not be compiled: there is no optimizer state."""
    with TemporaryDirectory(prefix="goldfish-") as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return canonicalise(path.read_bytes())


def canonicalise(archive: bytes) -> bytes:
    """Rewrites a `.keras` file with sorted members, fixed times and no compression."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(target, "w") as written:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == "metadata.json":
                data = _dumps(json.loads(data) | {"date_saved": DATE})
            elif name == "config.json":
                data = _dumps(_renumber_shared_objects(json.loads(data), {}))
            entry = zipfile.ZipInfo(name, EPOCH)
            # Python would write values that depend on the platform; Keras ignores them.
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            written.writestr(entry, data)
    return target.getvalue()


def _renumber_shared_objects(node: Any, numbers: dict[int, int]) -> Any:  # noqa: ANN401
    """Replaces each `shared_object_id` by its order of first appearance."""
    if isinstance(node, list):
        return [_renumber_shared_objects(item, numbers) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: numbers.setdefault(value, len(numbers))
        if key == "shared_object_id"
        else _renumber_shared_objects(value, numbers)
        for key, value in node.items()
    }


def _dumps(document: object) -> bytes:
    return json.dumps(document).encode()
