"""The protocols' part of the OpenAPI document: routes, requests, responses and errors.

Vertex AI's routes are left out, because the platform chooses their paths. Each request is described in one of
its JSON forms; the protocols' modules accept more.
"""

from typing import NamedTuple

from serving.api import errors, response_schemas
from serving.api.model_repository import ALIAS
from serving.api.openapi_responses import (
    JSON,
    NOT_READY,
    Document,
    ErrorClass,
    ErrorSchema,
    curl_key_option,
    operation_responses,
    security_requirement,
    success_response,
    upload_errors,
)
from serving.api.protocols import (
    mlflow_scoring,
    open_inference_metadata,
    open_inference_response,
    tensorflow_metadata,
)
from serving.api.protocols import tensorflow_serving as tensorflow
from serving.api.protocols.error_formats import DEADLINE_STATUSES, IMAGE_STATUSES
from serving.api.protocols.hugging_face import FoundClass
from serving.api.protocols.request_examples import example_bodies
from serving.api.service import Service

SCHEMAS = (
    response_schemas.ErrorDocument,
    response_schemas.MlflowError,
    FoundClass,
    open_inference_response.InferenceResponse,
    mlflow_scoring.ScoredImages,
    open_inference_metadata.IndexEntry,
    open_inference_metadata.Live,
    open_inference_metadata.ModelConfig,
    open_inference_metadata.ModelMetadata,
    open_inference_metadata.ModelReady,
    open_inference_metadata.ServerMetadata,
    open_inference_metadata.ServerReady,
    open_inference_metadata.Statistics,
    tensorflow_metadata.Metadata,
    tensorflow_metadata.Names,
    tensorflow_metadata.Status,
    tensorflow.Classes,
    tensorflow.Rows,
    tensorflow.Column,
)

OPEN, TENSORFLOW, MLFLOW, HUGGING = "Open Inference", "TensorFlow Serving", "MLflow", "Hugging Face"
TAGS = {
    OPEN: "The Open Inference Protocol, version 2, as in KServe and Triton; also with binary tensors.",
    TENSORFLOW: "The REST API of TensorFlow Serving, and the first protocol of KServe.",
    MLFLOW: "The scoring protocol of MLflow's own server, and SageMaker's.",
    HUGGING: "Image classification, for `InferenceClient(model=url)`.",
}
ERROR_SCHEMAS = {
    OPEN: ErrorSchema(JSON, "ErrorDocument", IMAGE_STATUSES),
    TENSORFLOW: ErrorSchema(JSON, "ErrorDocument", DEADLINE_STATUSES),
    MLFLOW: ErrorSchema(JSON, "MlflowError", DEADLINE_STATUSES),
    HUGGING: ErrorSchema(JSON, "ErrorDocument"),
}
# Suffixes of a model's path: none, a version, a label.
VERSIONED = ("", "/versions/{version}")
LABELLED = (*VERSIONED, "/labels/{label}")


class Operation(NamedTuple):
    """An operation at one path, or at several paths that name the same model differently.

    `schema`: name of the response's schema; "" if it has none, `None` if the operation always fails.
    `body`: key in `example_bodies`, "" if the request has no body.
    """

    tag: str
    method: str
    paths: tuple[str, ...]
    summary: str
    schema: str | None
    error_classes: tuple[ErrorClass, ...] = ()
    body: str = ""


def _v2_paths(after: str = "") -> tuple[str, ...]:
    return tuple(f"/v2/models/{{name}}{version}{after}" for version in VERSIONED)


def _v1_paths(after: str = "") -> tuple[str, ...]:
    return tuple(f"/v1/models/{{name}}{version}{after}" for version in LABELLED)


UNKNOWN_MODEL: tuple[ErrorClass, ...] = (errors.ModelUnknown,)
MODEL_NOT_READY: tuple[ErrorClass, ...] = (errors.ModelUnknown, *NOT_READY)
MALFORMED: tuple[ErrorClass, ...] = (errors.DocumentMalformed,)
TENSOR_ERRORS: tuple[ErrorClass, ...] = (errors.ModelUnknown, errors.DocumentMalformed, errors.TensorInvalid)
SIGNATURE_ERRORS: tuple[ErrorClass, ...] = (*TENSOR_ERRORS, errors.SignatureWrong)
REGRESS_ERRORS: tuple[ErrorClass, ...] = (errors.ModelUnknown, errors.SignatureWrong)
REPOSITORY = "/v2/repository/models/{name}"
READY, MODELS = "Is the model ready?", "The names of the models."
SIGNATURE, STATISTICS = "The inputs and outputs.", "Counts and times of requests."

OPERATIONS = (
    Operation(OPEN, "get", ("/v2",), "The server's metadata.", "ServerMetadata"),
    Operation(OPEN, "get", ("/v2/health/live",), "Is the process alive?", "Live"),
    Operation(OPEN, "get", ("/v2/health/ready",), READY, "ServerReady", NOT_READY),
    Operation(OPEN, "get", ("/v2/models",), MODELS, "Names"),
    Operation(OPEN, "get", _v2_paths(), SIGNATURE, "ModelMetadata", UNKNOWN_MODEL),
    Operation(OPEN, "get", _v2_paths("/ready"), READY, "ModelReady", MODEL_NOT_READY),
    Operation(
        OPEN, "post", _v2_paths("/infer"), "Probabilities.", "InferenceResponse", TENSOR_ERRORS, "infer"
    ),
    Operation(
        OPEN, "get", _v2_paths("/config"), "Inputs and outputs in Triton's format.", "ModelConfig",
        UNKNOWN_MODEL,
    ),
    Operation(OPEN, "get", _v2_paths("/stats"), STATISTICS, "Statistics", UNKNOWN_MODEL),
    Operation(OPEN, "get", ("/v2/models/stats",), STATISTICS, "Statistics"),
    Operation(OPEN, "post", ("/v2/repository/index",), MODELS, "IndexEntry"),
    Operation(
        OPEN, "post", (f"{REPOSITORY}/load", f"{REPOSITORY}/unload"), "Always refused.", None,
        (errors.LoadingRefused, errors.ModelUnknown),
    ),
    Operation(TENSORFLOW, "get", ("/v1/models",), MODELS, "Names"),
    Operation(TENSORFLOW, "get", _v1_paths(), READY, "Status", MODEL_NOT_READY),
    Operation(TENSORFLOW, "get", _v1_paths("/metadata"), SIGNATURE, "Metadata", UNKNOWN_MODEL),
    Operation(
        TENSORFLOW, "post", _v1_paths(":predict"), "Probabilities.", "Rows", SIGNATURE_ERRORS, "predict"
    ),
    Operation(
        TENSORFLOW, "post", _v1_paths(":classify"), "All classes.", "Classes", SIGNATURE_ERRORS, "classify"
    ),
    Operation(TENSORFLOW, "post", _v1_paths(":regress"), "Always refused.", None, REGRESS_ERRORS),
    Operation(MLFLOW, "get", ("/ping",), READY, "", NOT_READY),
    Operation(MLFLOW, "get", ("/health",), READY, "", NOT_READY),
    Operation(
        MLFLOW, "post", ("/invocations",), "The best classes of each image.", "ScoredImages",
        (*MALFORMED, errors.TypeUnknown), "invocations",
    ),
    Operation(
        HUGGING, "post", ("/hf/classify",), "The best classes.", "FoundClass", MALFORMED, "hugging face"
    ),
)  # fmt: skip
# Schemas of which the response is a list.
LIST_SCHEMAS = {"IndexEntry", "FoundClass"}


def tags() -> list[Document]:
    """One tag for each protocol."""
    return [{"name": name, "description": text} for name, text in TAGS.items()]


def paths(service: Service, schemas: Document) -> Document:
    """All operations by path and method; `schemas` are the references to the schemas by name."""
    by_path: Document = {}
    for operation in OPERATIONS:
        for path in operation.paths:
            by_path.setdefault(path, {})[operation.method] = _describe(operation, path, service, schemas)
    return by_path


def _describe(operation: Operation, path: str, service: Service, schemas: Document) -> Document:
    """One operation. Only those with a body require a key."""
    error_classes = operation.error_classes
    more: Document = {}
    if operation.body:
        body = example_bodies(service)[operation.body]
        error_classes = (*upload_errors(service, ()), *error_classes)
        more = {
            "requestBody": {"required": True, "content": body.content},
            "x-curl": f"{body.curl(curl_key_option(service))} {{url}}{_example_path(path, service)}",
            **security_requirement(service),
        }
    return {
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(path, service, bool(operation.body)),
        "responses": operation_responses(
            _success(operation, schemas), error_classes, ERROR_SCHEMAS[operation.tag]
        ),
        **more,
    }


def _example_path(path: str, service: Service) -> str:
    entry = service.models.entries[0]
    return path.replace("{name}", entry.name).replace("{version}", entry.version).replace("{label}", ALIAS)


def _success(operation: Operation, schemas: Document) -> Document | None:
    """The response with 200; None if the operation always fails."""
    if operation.schema is None:
        return None
    if not operation.schema:
        return {"description": "An empty line.", "content": {JSON: {}}}
    schema = schemas[operation.schema]
    response = success_response(
        {"type": "array", "items": schema} if operation.schema in LIST_SCHEMAS else schema
    )
    if operation.body == "infer":
        response["content"]["application/octet-stream"] = {}
    return response


def _parameters(path: str, service: Service, has_body: bool) -> list[Document]:
    """The parameters in the path with all their possible values."""
    # The example bodies hold images, which the model for tensors does not accept.
    entries = [entry for entry in service.models.all_entries if not (has_body and entry.pixels)]
    parameters = {
        "name": ("The model.", list(dict.fromkeys(entry.name for entry in entries))),
        "version": ("Its version in the registry.", sorted({entry.version for entry in entries})),
        "label": ("The label of the version.", list(dict.fromkeys(entry.label for entry in entries))),
    }
    return [
        {"name": name, "in": "path", "required": True, "description": text, "schema": {"enum": values}}
        for name, (text, values) in parameters.items()
        if f"{{{name}}}" in path
    ]
