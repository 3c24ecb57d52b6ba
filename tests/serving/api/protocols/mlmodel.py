"""The `python_function` flavour that the pipeline gives a bundle, without the Keras one."""

import mlflow.models
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema


def mlmodel() -> bytes:
    """The file MLmodel; the code is that of the working tree."""
    model = mlflow.models.Model(
        utc_time_created="1980-01-01 00:00:00.000000",
        model_uuid=None,
        signature=ModelSignature(inputs=Schema([ColSpec(DataType.binary)])),
    )
    model.add_flavor("python_function", loader_module="serving.artifact.pyfunc", python_version="3.11")
    return str(model.to_yaml()).encode()
