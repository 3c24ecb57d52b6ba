"""What a client of each protocol sends, for the OpenAPI document: schemas and lines for curl.

They are written by hand, because most requests have several forms and what fits is more than types can say.
"""

from typing import NamedTuple

from serving.api.model_repository import INPUT
from serving.api.openapi_responses import JSON, Document
from serving.api.protocols import sagemaker
from serving.api.service import Service

BASE64: Document = {"type": "string", "format": "byte", "contentEncoding": "base64"}
NAMED_BASE64: Document = {"type": "object", "properties": {"b64": BASE64}, "required": ["b64"]}
# Where a shell puts an image into a document between apostrophes.
PHOTO = "'$(base64 -w0 photo.jpg)'"


class Body(NamedTuple):
    """By media type what may be sent; `document`: an example for a shell, if it is no plain image."""

    content: Document
    document: str = ""

    def curl(self, options: str) -> str:
        """The command that sends an example to what follows; a shell's own echo takes photos of any size."""
        if not self.document:
            return f"curl {options}--data-binary @photo.jpg"
        return f"echo '{self.document}' | curl {options}-H 'Content-Type: {JSON}' -d @-"


def bodies(service: Service) -> dict[str, Body]:
    """By the last word of the path."""
    limit = service.settings.max_images
    example = object_of(INPUT, NAMED_BASE64)
    return {
        "infer": Body({JSON: {"schema": _infer(limit)}}, INFER),
        "predict": Body({JSON: {"schema": object_of("instances", many(NAMED_BASE64, limit))}}, PREDICT),
        "classify": Body({JSON: {"schema": object_of("examples", many(example, limit))}}, CLASSIFY),
        "invocations": Body(
            {JSON: {"schema": _invocations(limit)}} | {kind: {} for kind in sagemaker.PICTURES},
            INVOCATIONS,
        ),
        "hugging face": Body({kind: {} for kind in sagemaker.PICTURES} | {JSON: {"schema": _hugging()}}),
    }


INFER = f'{{"inputs": [{{"name": "{INPUT}", "shape": [1], "datatype": "BYTES", "data": ["{PHOTO}"]}}]}}'
PREDICT = f'{{"instances": [{{"b64": "{PHOTO}"}}]}}'
CLASSIFY = f'{{"examples": [{{"{INPUT}": {{"b64": "{PHOTO}"}}}}]}}'
INVOCATIONS = f'{{"inputs": ["{PHOTO}"]}}'


def object_of(name: str, schema: Document) -> Document:
    """An object with one member that it needs."""
    return {"type": "object", "properties": {name: schema}, "required": [name]}


def many(schema: Document, limit: int) -> Document:
    """A list of one to `limit`."""
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": limit}


def _infer(limit: int) -> Document:
    tensor = {
        "name": {"const": INPUT},
        "shape": {"type": "array", "items": {"type": "integer"}, "description": "`[N]` or `[N,1]`."},
        "datatype": {"const": "BYTES"},
        "data": many(BASE64, limit),
    }
    given = {"type": "object", "properties": tensor, "required": list(tensor)}
    return object_of("inputs", {"type": "array", "items": given, "minItems": 1, "maxItems": 1})


def _invocations(limit: int) -> Document:
    """Exactly one of four forms."""
    record = {"type": "object", "additionalProperties": BASE64, "minProperties": 1, "maxProperties": 1}
    row = {"type": "array", "items": BASE64, "minItems": 1, "maxItems": 1}
    split = object_of("data", many(row, limit)) | {"additionalProperties": False}
    return {
        "oneOf": [
            object_of("dataframe_split", split),
            object_of("dataframe_records", many(record, limit)),
            object_of("instances", many(BASE64, limit)),
            object_of("inputs", many(BASE64, limit)),
        ]
    }


def _hugging() -> Document:
    top = {"type": ["integer", "null"], "minimum": 1}
    parameters = {"type": ["object", "null"], "properties": {"top_k": top}}
    return {
        "type": "object",
        "properties": {"inputs": BASE64, "parameters": parameters},
        "required": ["inputs"],
    }
