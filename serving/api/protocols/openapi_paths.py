"""The protocols in the OpenAPI document: their routes, requests, answers and errors.

Routes that a platform chooses (Vertex AI) are not in it. Requests are described in the one form of JSON that
examples show best; the modules of the protocols take more.
"""

from typing import NamedTuple

from serving.api import errors, response_schemas
from serving.api.model_repository import ALIAS
from serving.api.openapi_responses import (
    JSON,
    UNREADY,
    Document,
    Form,
    Kind,
    answer,
    key,
    responses,
    security,
    sending,
)
from serving.api.protocols import (
    mlflow_scoring,
    open_inference_metadata,
    open_inference_response,
    tensorflow_metadata,
)
from serving.api.protocols import tensorflow_serving as tensorflow
from serving.api.protocols.error_documents import INVALID, LATE
from serving.api.protocols.hugging_face import FoundClass
from serving.api.protocols.request_examples import bodies
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
    OPEN: "The Open Inference Protocol, version 2, as KServe and Triton speak it; also with binary tensors.",
    TENSORFLOW: "The REST API of TensorFlow Serving, and the first protocol of KServe.",
    MLFLOW: "The scoring protocol of MLflow's own server, and SageMaker's.",
    HUGGING: "Image classification, for `InferenceClient(model=url)`.",
}
FORMS = {
    OPEN: Form(JSON, "ErrorDocument", INVALID),
    TENSORFLOW: Form(JSON, "ErrorDocument", LATE),
    MLFLOW: Form(JSON, "MlflowError", LATE),
    HUGGING: Form(JSON, "ErrorDocument"),
}
# After a path: for the model as such, its version and its label.
VERSIONED = ("", "/versions/{version}")
LABELLED = (*VERSIONED, "/labels/{label}")


class Operation(NamedTuple):
    """What is done at one path, or at several that differ in how they name the model.

    `schema`: of the answer; nothing if it has none, `None` if there never is one. `body`: which of `bodies`.
    """

    tag: str
    method: str
    paths: tuple[str, ...]
    summary: str
    schema: str | None
    refusals: tuple[Kind, ...] = ()
    body: str = ""


def _two(after: str = "") -> tuple[str, ...]:
    return tuple(f"/v2/models/{{name}}{which}{after}" for which in VERSIONED)


def _three(after: str = "") -> tuple[str, ...]:
    return tuple(f"/v1/models/{{name}}{which}{after}" for which in LABELLED)


UNKNOWN: tuple[Kind, ...] = (errors.ModelUnknown,)
NAMED: tuple[Kind, ...] = (errors.ModelUnknown, *UNREADY)
MALFORMED: tuple[Kind, ...] = (errors.DocumentMalformed,)
ASKING: tuple[Kind, ...] = (errors.ModelUnknown, errors.DocumentMalformed, errors.TensorInvalid)
SIGNED: tuple[Kind, ...] = (*ASKING, errors.SignatureWrong)
REGRESS: tuple[Kind, ...] = (errors.ModelUnknown, errors.SignatureWrong)
REPOSITORY = "/v2/repository/models/{name}"
READY, LISTED = "Does it answer as it was measured?", "What does the server answer to?"
SIGNATURE, ASKED = "What goes in and comes out?", "How often was it asked, and how long did it take?"

OPERATIONS = (
    Operation(OPEN, "get", ("/v2",), "Which server is it?", "ServerMetadata"),
    Operation(OPEN, "get", ("/v2/health/live",), "Is the process alive?", "Live"),
    Operation(OPEN, "get", ("/v2/health/ready",), READY, "ServerReady", UNREADY),
    Operation(OPEN, "get", ("/v2/models",), LISTED, "Names"),
    Operation(OPEN, "get", _two(), SIGNATURE, "ModelMetadata", UNKNOWN),
    Operation(OPEN, "get", _two("/ready"), READY, "ModelReady", NAMED),
    Operation(OPEN, "post", _two("/infer"), "Probabilities.", "InferenceResponse", ASKING, "infer"),
    Operation(OPEN, "get", _two("/config"), "The same in Triton's words.", "ModelConfig", UNKNOWN),
    Operation(OPEN, "get", _two("/stats"), ASKED, "Statistics", UNKNOWN),
    Operation(OPEN, "get", ("/v2/models/stats",), ASKED, "Statistics"),
    Operation(OPEN, "post", ("/v2/repository/index",), LISTED, "IndexEntry"),
    Operation(
        OPEN, "post", (f"{REPOSITORY}/load", f"{REPOSITORY}/unload"), "Always refused.", None,
        (errors.LoadingRefused, errors.ModelUnknown),
    ),
    Operation(TENSORFLOW, "get", ("/v1/models",), LISTED, "Names"),
    Operation(TENSORFLOW, "get", _three(), READY, "Status", NAMED),
    Operation(TENSORFLOW, "get", _three("/metadata"), SIGNATURE, "Metadata", UNKNOWN),
    Operation(TENSORFLOW, "post", _three(":predict"), "Probabilities.", "Rows", SIGNED, "predict"),
    Operation(TENSORFLOW, "post", _three(":classify"), "All classes.", "Classes", SIGNED, "classify"),
    Operation(TENSORFLOW, "post", _three(":regress"), "Always refused.", None, REGRESS),
    Operation(MLFLOW, "get", ("/ping",), READY, "", UNREADY),
    Operation(MLFLOW, "get", ("/health",), READY, "", UNREADY),
    Operation(
        MLFLOW, "post", ("/invocations",), "The best classes of each image.", "ScoredImages",
        (*MALFORMED, errors.TypeUnknown), "invocations",
    ),
    Operation(
        HUGGING, "post", ("/hf/classify",), "The best classes.", "FoundClass", MALFORMED, "hugging face"
    ),
)  # fmt: skip
LISTS = {"IndexEntry", "FoundClass"}


def tags() -> list[Document]:
    """The protocols."""
    return [{"name": name, "description": text} for name, text in TAGS.items()]


def paths(service: Service, named: Document) -> Document:
    """All their routes."""
    found: Document = {}
    for operation in OPERATIONS:
        for path in operation.paths:
            found.setdefault(path, {})[operation.method] = _described(operation, path, service, named)
    return found


def _described(operation: Operation, path: str, service: Service, named: Document) -> Document:
    """One operation. Those that take a body want a key."""
    refusals = operation.refusals
    more: Document = {}
    if operation.body:
        body = bodies(service)[operation.body]
        refusals = (*sending(service, ()), *refusals)
        more = {
            "requestBody": {"required": True, "content": body.content},
            "x-curl": f"{body.curl(key(service))} {{url}}{_example(path, service)}",
            **security(service),
        }
    return {
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(path, service, bool(operation.body)),
        "responses": responses(_good(operation, named), refusals, FORMS[operation.tag]),
        **more,
    }


def _example(path: str, service: Service) -> str:
    entry = service.catalogue.images
    return path.replace("{name}", entry.name).replace("{version}", entry.version).replace("{label}", ALIAS)


def _good(operation: Operation, named: Document) -> Document | None:
    """The answer with 200, if there is one."""
    if operation.schema is None:
        return None
    if not operation.schema:
        return {"description": "An empty line.", "content": {JSON: {}}}
    schema = named[operation.schema]
    good = answer({"type": "array", "items": schema} if operation.schema in LISTS else schema)
    if operation.body == "infer":
        good["content"]["application/octet-stream"] = {}
    return good


def _parameters(path: str, service: Service, asks: bool) -> list[Document]:
    """What stands in the path, with all that it can be."""
    catalogue = service.catalogue
    # Examples are of images; what takes tensors wants other bodies.
    entries = (catalogue.images,) if asks else catalogue.entries
    known = {
        "name": ("The model.", [entry.name for entry in entries]),
        "version": ("Its version in the registry.", [catalogue.images.version]),
        "label": ("What the registry calls the version.", [ALIAS]),
    }
    return [
        {"name": name, "in": "path", "required": True, "description": text, "schema": {"enum": values}}
        for name, (text, values) in known.items()
        if f"{{{name}}}" in path
    ]
