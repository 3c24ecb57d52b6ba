"""The bundle's MLflow side: MLmodel, with a `keras` and a `python_function` flavour, and requirements."""

from importlib.metadata import version
from pathlib import Path

import mlflow.models
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema

import serving
from pipeline.files import write

# The part of serving/ that answers without a server: the pyfunc flavour and all that it imports. A bundle has
# a copy of it, so that MLflow can load it in any directory.
SERVING = Path(serving.__file__).parent
CODE = (
    "__init__.py",
    "artifact/__init__.py",
    "artifact/bundle.py",
    "artifact/files.py",
    "artifact/manifest.py",
    "artifact/pyfunc.py",
    "errors.py",
)
CODE_FOLDER = "model"


def write_flavours(bundle: Path) -> None:
    """Adds MLmodel, requirements.txt and `code/serving/` to a bundle that has its `data/` and `serving/`."""
    model = mlflow.models.Model(
        # Both would differ from one export to the next.
        utc_time_created="1980-01-01 00:00:00.000000",
        model_uuid=None,
        # Without a name for the column, a plain list of bytes is as good as a DataFrame.
        signature=ModelSignature(inputs=Schema([ColSpec(DataType.binary)])),
    )
    model.add_flavor(
        "keras",
        data="data",
        keras_version=version("keras"),
        keras_backend="tensorflow",
        save_exported_model=False,
    )
    # Not mlflow.pyfunc.add_to_model: it writes down the patch release of the Python that runs.
    model.add_flavor(
        "python_function", loader_module="serving.artifact.pyfunc", code="code", python_version="3.11"
    )
    write(bundle / "MLmodel", model.to_yaml().encode())
    write(bundle / "requirements.txt", _requirements().encode())
    for source in code():
        write(bundle / "code/serving" / source.relative_to(SERVING), source.read_bytes())


def code() -> list[Path]:
    """The files of serving/ that a bundle holds a copy of."""
    return sorted([*(SERVING / name for name in CODE), *(SERVING / CODE_FOLDER).rglob("*.py")])


def _requirements() -> str:
    # NumPy is left open: its newest release differs between the Python versions, and the digest must not.
    exact = [f"{name}=={version(name)}" for name in ("keras", "onnxruntime", "pillow")]
    return "\n".join([*exact, "numpy>=2.2,<3", f"tensorflow=={_tensorflow()}"]) + "\n"


def _tensorflow() -> str:
    from pipeline.network.backend import tf

    return str(tf.__version__)
