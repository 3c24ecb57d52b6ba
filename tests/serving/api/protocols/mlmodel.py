"""The file MLmodel with the `python_function` flavour of a bundle, without the Keras flavour."""

import mlflow.models
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema


def mlmodel() -> bytes:
    """The content of MLmodel; the loader's code is taken from the working tree."""
    model = mlflow.models.Model(
        utc_time_created="1980-01-01 00:00:00.000000",
        model_uuid=None,
        signature=ModelSignature(inputs=Schema([ColSpec(DataType.binary)])),
    )
    model.add_flavor("python_function", loader_module="serving.pyfunc", python_version="3.11")
    return str(model.to_yaml()).encode()
