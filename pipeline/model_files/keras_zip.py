"""Reads a `.keras` file, a zip with configuration as JSON and weights as HDF5, without trusting it."""

import json
import stat
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import ModelFileInvalid, ModelFileUnknown, ModelFileUnsafe
from pipeline.model_files import hdf5_file, keras2_configuration
from pipeline.model_files.keras_configuration import check_size
from pipeline.model_files.keras_model_file import KerasSource

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# NASNetLarge's configuration has 1 MB.
MAX_CONFIG_BYTES, MAX_METADATA_BYTES = 2**25, 2**20
MAX_MEMBERS = 1000
# Keras stores members without compression; who compresses them afterwards saves a tenth.
MAX_EXPANSION, SMALL_BYTES = 100, 2**20
CHUNK_BYTES = 2**20


def read(path: Path) -> KerasSource:
    """Reads configuration and version; the weights stay in the file until they are loaded.

    Raises `ModelFileUnknown`, `ModelFileInvalid` or `ModelFileUnsafe`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _check_members(archive, path)
            if CONFIG not in members or WEIGHTS not in members:
                raise _not_keras(path, members)
            config = _read_json(archive, members[CONFIG], MAX_CONFIG_BYTES, path)
            metadata = (
                _read_json(archive, members[METADATA], MAX_METADATA_BYTES, path)
                if METADATA in members
                else {}
            )
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelFileInvalid(path, f"it is a damaged zip ({error})") from error
    version = str(metadata.get("keras_version", ""))[:40]
    if not version.startswith("2"):
        framework = f"Keras {version}" if version else ""
        return KerasSource(path, "Keras 3 file", framework, config, lambda model: _load_weights(path, model))
    translated, notes = keras2_configuration.translate(config, path)
    names = keras2_configuration.names_without_slashes(translated)
    renamed = keras2_configuration.rename_layers(translated, names)

    def load(model: Any) -> None:  # noqa: ANN401
        _check_order(renamed, model, path)
        _load_weights(path, model)

    return KerasSource(path, "Keras 2 file", f"Keras {version}", renamed, load, tuple(notes))


def _check_members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members by name, after their names, kinds and sizes were checked."""
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise ModelFileInvalid(path, f"it has {len(entries):,} members; a Keras file has three")
    members = {entry.filename: entry for entry in entries}
    if len(members) < len(entries):
        raise ModelFileUnsafe(path, "two of its members have the same name", hdf5_file.MISTAKE)
    for name, entry in members.items():
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\0" in name:
            raise ModelFileUnsafe(path, f"its member {name!r} leads out of its folder", hdf5_file.MISTAKE)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ModelFileUnsafe(path, f"its member {name!r} is a symbolic link", hdf5_file.MISTAKE)
        if entry.flag_bits & 1:
            raise ModelFileInvalid(path, f"its member {name!r} is encrypted", "Save it without a password")
        if entry.file_size > SMALL_BYTES and entry.file_size > MAX_EXPANSION * entry.compress_size:
            reason = f"its member {name!r} grows from {entry.compress_size:,} to {entry.file_size:,} bytes"
            raise ModelFileUnsafe(path, reason, hdf5_file.MISTAKE)
    return members


def _not_keras(path: Path, members: dict[str, zipfile.ZipInfo]) -> Exception:
    names = list(members)
    inside = next(
        (name for name in names if name.endswith((".h5", ".keras", ".onnx", "saved_model.pb"))), None
    )
    if any(name.endswith("data.pkl") for name in names):
        return ModelFileUnknown(
            path, "it is a PyTorch file, which is Python code", "export it there with torch.onnx.export"
        )
    if "model.weights.npz" in names:
        return ModelFileUnknown(
            path, "its weights are in NumPy's format", 'save it with model.save("model.keras")'
        )
    if inside is not None:
        return ModelFileUnknown(path, f"it is a zip that contains {inside}", "unpack it and bring that")
    listed = ", ".join(names[:5]) or "nothing"
    return ModelFileUnknown(
        path,
        f"it is a zip with {listed}, without {CONFIG} and {WEIGHTS}",
        'model.save("model.keras") writes one',
    )


def _read_json(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int, path: Path) -> dict[str, Any]:
    if member.file_size > limit:
        reason = f"{member.filename} has {member.file_size:,} bytes; the limit is {limit:,}"
        raise ModelFileInvalid(path, reason)
    with archive.open(member) as opened:
        # The declared size may be wrong.
        data = opened.read(limit + 1)
    return parse_configuration(data, member.filename, path)


def parse_configuration(data: bytes | str, name: str, path: Path) -> dict[str, Any]:
    """A JSON object. Raises `ModelFileInvalid`."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelFileInvalid(path, f"{name} is not valid JSON ({type(error).__name__}: {error})") from error
    if not isinstance(document, dict):
        raise ModelFileInvalid(path, f"{name} is not a JSON object")
    check_size(document, path)
    return document


def _check_order(config: dict[str, Any], model: Any, path: Path) -> None:  # noqa: ANN401
    """Raises unless the layers of each class are in the order of the file, by which weights are stored."""
    inner = config.get("config")
    listed = inner.get("layers") if isinstance(inner, dict) else None
    if not isinstance(listed, list) or not hasattr(model, "layers"):
        return
    layers = {layer.name: layer for layer in model.layers}
    saved: dict[str, list[str]] = {}
    for entry in listed:
        name = entry["config"].get("name", entry.get("name"))
        if name in layers:
            saved.setdefault(type(layers[name]).__name__, []).append(name)
            _check_order(entry, layers[name], path)
    for kind, names in saved.items():
        if names != [layer.name for layer in model.layers if type(layer).__name__ == kind]:
            raise ModelFileInvalid(
                path,
                f"Keras 3 builds its {kind} layers in another order than that of its weights",
                "Save it as HDF5, where weights have names: model.save('model.h5') under Keras 2",
            )


def _load_weights(path: Path, model: Any) -> None:  # noqa: ANN401
    """Copies the weights to a temporary file, which is checked, and then read by Keras."""
    with TemporaryDirectory(prefix="goldfish-") as folder:
        weights = Path(folder) / WEIGHTS
        with zipfile.ZipFile(path) as archive, weights.open("wb") as target:
            member = archive.getinfo(WEIGHTS)
            written = 0
            with archive.open(member) as source:
                while chunk := source.read(CHUNK_BYTES):
                    written += len(chunk)
                    if written > member.file_size:
                        raise ModelFileInvalid(path, f"{WEIGHTS} is longer than the zip says")
                    target.write(chunk)
        with hdf5_file.open_checked(weights, path):
            pass
        model.load_weights(weights)
