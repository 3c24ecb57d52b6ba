"""The parts that all operations of the OpenAPI document share: responses, errors, headers, security."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from serving.api import errors
from serving.api.request_context import REQUEST_ID
from serving.api.responses import Problem
from serving.api.service import Service
from serving.errors import ImageError

Document = dict[str, Any]
ErrorClass = type[ImageError] | type[errors.RequestError]
JSON, HTML, PNG = "application/json", "text/html", "image/png"

RETRY_AFTER: Document = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
COMMON_HEADERS = ("X-Model-Name", "X-Model-Version", "X-Model-Digest", "X-Request-Id")
# Only of requests with a trace.
TRACE_HEADER = "traceresponse"

# Errors of any request that has a body.
BODY_ERRORS: tuple[ErrorClass, ...] = (
    errors.BodyIncomplete, errors.BodyMalformed, errors.BodyTooLarge, errors.BodyTooSlow, errors.ClientGone,
    errors.DeadlineExceeded, errors.EncodingMalformed, errors.EncodingUnknown, errors.ImagesTooMany,
    errors.ImageUrlRefused, errors.ServerBusy,
)  # fmt: skip
# Errors of readiness checks.
NOT_READY: tuple[ErrorClass, ...] = (errors.NotReady, errors.WorkerStuck)
# Errors of /inference and /predict, which accept forms and JSON.
FORM_ERRORS: tuple[ErrorClass, ...] = (
    errors.DocumentMalformed,
    errors.ImageMissing,
    errors.MultipartMalformed,
)


class ErrorSchema(NamedTuple):
    """The format of errors: media type, schema, and statuses by code that differ from the error classes'."""

    media_type: str = Problem.media_type
    schema: str = "ProblemDetails"
    statuses: Mapping[str, int] = MappingProxyType({})


def all_errors() -> list[ErrorClass]:
    """All errors that a response can have, ordered by status and code."""
    classes: list[ErrorClass] = [*ImageError.__subclasses__(), *errors.RequestError.__subclasses__()]
    return sorted(classes, key=lambda error: (error.status, error.code))


def upload_errors(service: Service, more: tuple[ErrorClass, ...] = FORM_ERRORS) -> tuple[ErrorClass, ...]:
    """Errors of a request with images."""
    found: list[ErrorClass] = [*ImageError.__subclasses__(), *BODY_ERRORS, *more]
    if service.access.requires_key:
        found += [errors.KeyMissing, errors.KeyUnknown, errors.KeyExpired, errors.QuotaExceeded]
    if service.settings.rate_limit:
        found += [errors.RateLimited]
    return tuple(found)


def success_response(schema: Document) -> Document:
    """The response with status 200."""
    return {"description": "Success.", "content": {JSON: {"schema": schema}}}


def operation_responses(
    success: Document | None,
    error_classes: Iterable[ErrorClass],
    error_schema: ErrorSchema = ErrorSchema(),  # noqa: B008
) -> Document:
    """All responses of an operation: 200, unless it always fails, and each error status with its codes."""
    reference = {"$ref": f"#/components/schemas/{error_schema.schema}"}
    by_status: dict[str, list[str]] = {}
    for error in (*error_classes, errors.Internal):
        status = error_schema.statuses.get(error.code, error.status)
        by_status.setdefault(str(status), []).append(error.code)
    refused = {
        status: {
            "description": "Refused: " + ", ".join(f"`{code}`" for code in sorted(codes)) + ".",
            "headers": common_headers() | ({"Retry-After": RETRY_AFTER} if status in ("429", "503") else {}),
            "content": {error_schema.media_type: {"schema": reference}},
        }
        for status, codes in sorted(by_status.items())
    }
    return refused if success is None else {"200": success | {"headers": common_headers()}, **refused}


def common_headers() -> Document:
    """References to the headers of every response."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*COMMON_HEADERS, TRACE_HEADER)}


def header_components() -> Document:
    """Definitions of the headers of every response."""
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    identifier = {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"}
    definitions = (
        ("Name of the model.", {"type": "string"}),
        ("Its version in the registry.", {"type": "integer", "minimum": 1}),
        ("SHA-256 of its manifest.", digest),
        ("Id of the request in the log.", identifier),
    )
    common = {
        name: {"required": True, "description": text, "schema": schema}
        for name, (text, schema) in zip(COMMON_HEADERS, definitions, strict=True)
    }
    trace = {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"}
    text = "Trace and span of the request, if it has a trace (W3C Trace Context, editors' draft)."
    return common | {TRACE_HEADER: {"description": text, "schema": trace}}


def curl_key_option(service: Service) -> str:
    """The option that curl needs if the server requires a key."""
    return "-H 'X-API-Key: <key>' " if service.access.requires_key else ""


def security_requirement(service: Service) -> Document:
    """The ways to send a key, if the server requires one."""
    return {"security": [{"key": []}, {"bearer": []}]} if service.access.requires_key else {}
