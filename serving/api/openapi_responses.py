"""What the OpenAPI document says of every operation: its answers, its refusals, its headers."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from serving.api import errors
from serving.api.problem import Problem
from serving.api.request_context import REQUEST_ID
from serving.api.service import Service
from serving.errors import ImageError

Document = dict[str, Any]
Kind = type[ImageError] | type[errors.RequestError]
JSON, HTML = "application/json", "text/html"

SECONDS: Document = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
COMMON = ("X-Model-Name", "X-Model-Version", "X-Model-Digest", "X-Request-Id")

# What may happen to a request with a body, whatever it holds.
BODY: tuple[Kind, ...] = (
    errors.BodyIncomplete, errors.BodyMalformed, errors.BodyTooLarge, errors.BodyTooSlow, errors.ClientGone,
    errors.DeadlineExceeded, errors.EncodingMalformed, errors.EncodingUnknown, errors.ImagesTooMany,
    errors.ImageUrlRefused, errors.ServerBusy,
)  # fmt: skip
# What keeps a load balancer away.
UNREADY: tuple[Kind, ...] = (errors.NotReady, errors.WorkerStuck)
FORM: tuple[Kind, ...] = (errors.DocumentMalformed, errors.ImageMissing, errors.MultipartMalformed)


class Form(NamedTuple):
    """How errors look: media type, schema, and statuses by code that are others than elsewhere."""

    media_type: str = Problem.media_type
    schema: str = "ProblemDetails"
    statuses: Mapping[str, int] = MappingProxyType({})


def every_error() -> list[Kind]:
    """All that a request can be answered with besides 200, by status and code."""
    kinds: list[Kind] = [*ImageError.__subclasses__(), *errors.RequestError.__subclasses__()]
    return sorted(kinds, key=lambda kind: (kind.status, kind.code))


def sending(service: Service, more: tuple[Kind, ...] = FORM) -> tuple[Kind, ...]:
    """What may happen to a request with images."""
    wanted: list[Kind] = [*ImageError.__subclasses__(), *BODY, *more]
    if service.access.wants_key:
        wanted += [errors.KeyMissing, errors.KeyUnknown, errors.KeyExpired, errors.QuotaExceeded]
    if service.settings.rate_limit:
        wanted += [errors.RateLimited]
    return tuple(wanted)


def answer(schema: Document) -> Document:
    """What comes with 200."""
    return {"description": "The answer.", "content": {JSON: {"schema": schema}}}


def responses(good: Document | None, refusals: Iterable[Kind], form: Form = Form()) -> Document:  # noqa: B008
    """200 with its answer, if there is one, and each status with the codes that it may have."""
    reference = {"$ref": f"#/components/schemas/{form.schema}"}
    found: dict[str, list[str]] = {}
    for error in (*refusals, errors.Internal):
        found.setdefault(str(form.statuses.get(error.code, error.status)), []).append(error.code)
    refused = {
        status: {
            "description": "Refused: " + ", ".join(f"`{code}`" for code in sorted(codes)) + ".",
            "headers": common() | ({"Retry-After": SECONDS} if status in ("429", "503") else {}),
            "content": {form.media_type: {"schema": reference}},
        }
        for status, codes in sorted(found.items())
    }
    return refused if good is None else {"200": good | {"headers": common()}, **refused}


def common() -> Document:
    """The headers of every answer."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in COMMON}


def headers() -> Document:
    """What these headers are."""
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    identifier = {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"}
    described = (
        ("Name of the model.", {"type": "string"}),
        ("Its version in the registry.", {"type": "integer", "minimum": 1}),
        ("SHA-256 of its manifest.", digest),
        ("What the log calls the request.", identifier),
    )
    return {
        name: {"required": True, "description": text, "schema": schema}
        for name, (text, schema) in zip(COMMON, described, strict=True)
    }


def key(service: Service) -> str:
    """What curl needs where a key is wanted."""
    return "-H 'X-API-Key: <key>' " if service.access.wants_key else ""


def security(service: Service) -> Document:
    """How a key is sent, where one is wanted."""
    return {"security": [{"key": []}, {"bearer": []}]} if service.access.wants_key else {}
