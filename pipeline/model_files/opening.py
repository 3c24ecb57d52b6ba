"""Opens a model file of any kind. Its content tells the kind, not its name."""

from pathlib import Path

from pipeline.errors import ModelFileUnknown
from pipeline.model_files import hdf5_file, keras_h5, keras_zip, saved_model, weights_file
from pipeline.model_files.custom_code import import_custom_code
from pipeline.model_files.keras_model_file import KerasModelFile, KerasSource
from pipeline.model_files.model_file import ModelFile
from pipeline.model_files.onnx_file import OnnxModelFile
from pipeline.model_files.saved_model import SavedModelFile

# The first field of a protobuf message, which in ONNX is its version.
ONNX = b"\x08"
HDF5 = hdf5_file.SIGNATURE
ZIP = b"PK\x03\x04"


def open_model_file(path: Path, code: Path | None = None, architecture: str | None = None) -> ModelFile:
    """Opens a model file or folder; its weights are read when they are needed. No code of the file runs.

    `code` is a Python file with the classes that the model needs, and is run. `architecture`, a name in
    keras.applications, is needed for a file of weights alone.
    Raises a `PipelineError` for a file that cannot be read, is not safe, or holds something else than a
    classifier of single images.
    """
    if not path.exists():
        raise ModelFileUnknown(path, "it does not exist", "name the one that you have")
    if path.is_dir():
        if (path / saved_model.GRAPH).is_file():
            return _described(SavedModelFile(path))
        raise ModelFileUnknown(path, f"it is a folder without {saved_model.GRAPH}", "name the file in it")
    with path.open("rb") as opened:
        start = opened.read(16)
    if start.startswith(ZIP):
        return _described(_keras(keras_zip.read(path), code))
    if start.startswith(HDF5):
        source = keras_h5.read(path)
        return _described(_keras(source or weights_file.read(path, architecture), code))
    if start[:1] == ONNX:
        return _described(OnnxModelFile(path))
    raise ModelFileUnknown(path, "its content is of no known kind", "save yours as one of them")


def _keras(source: KerasSource, code: Path | None) -> KerasModelFile:
    return KerasModelFile(source, code, import_custom_code(code) if code else {})


def _described(file: ModelFile) -> ModelFile:
    """The same file. Reading the description now raises errors here rather than at first use."""
    _ = file.description
    return file
