"""Writes the MLflow part of a bundle: MLmodel with `keras` and `python_function` flavours, requirements."""

from importlib.metadata import version
from pathlib import Path

import mlflow.models
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema

import serving
from pipeline.files import write

# The pyfunc flavour and all modules of serving/ that it imports. A bundle contains a copy of them, so that
# MLflow can load it in any directory.
SERVING = Path(serving.__file__).parent
CODE_FILES = (
    "__init__.py",
    "artifact/__init__.py",
    "artifact/bundle.py",
    "artifact/files.py",
    "artifact/manifest.py",
    "errors.py",
    "pyfunc.py",
)
CODE_FOLDER = "model"


def write_flavours(bundle: Path) -> None:
    """Adds MLmodel, requirements.txt and `code/serving/` to a bundle that has its `data/` and `serving/`."""
    model = mlflow.models.Model(
        # MLflow's defaults differ from one export to the next.
        utc_time_created="1980-01-01 00:00:00.000000",
        model_uuid=None,
        # An unnamed column accepts a plain list of bytes as well as a DataFrame.
        signature=ModelSignature(inputs=Schema([ColSpec(DataType.binary)])),
    )
    model.add_flavor(
        "keras",
        data="data",
        keras_version=version("keras"),
        keras_backend="tensorflow",
        save_exported_model=False,
    )
    # Not mlflow.pyfunc.add_to_model, which records the patch release of the running Python.
    model.add_flavor("python_function", loader_module="serving.pyfunc", code="code", python_version="3.11")
    write(bundle / "MLmodel", model.to_yaml().encode())
    write(bundle / "requirements.txt", _requirements().encode())
    for source in packaged_code():
        write(bundle / "code/serving" / source.relative_to(SERVING), source.read_bytes())


def packaged_code() -> list[Path]:
    """The files of serving/ that are copied into a bundle."""
    return sorted([*(SERVING / name for name in CODE_FILES), *(SERVING / CODE_FOLDER).rglob("*.py")])


def _requirements() -> str:
    # NumPy is a range: its newest release depends on the Python version, and the digest must not.
    exact = [f"{name}=={version(name)}" for name in ("keras", "onnxruntime", "pillow")]
    return "\n".join([*exact, "numpy>=2.2,<3", f"tensorflow=={_tensorflow_version()}"]) + "\n"


def _tensorflow_version() -> str:
    from pipeline.network.backend import tf

    return str(tf.__version__)
