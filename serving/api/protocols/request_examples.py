"""Example requests of each protocol for the OpenAPI document: schemas and curl commands.

They are written by hand, because most requests have several forms and constraints that types cannot express.
"""

from typing import NamedTuple

from serving.api.model_repository import INPUT
from serving.api.openapi_responses import JSON, Document
from serving.api.protocols import sagemaker
from serving.api.service import Service

BASE64: Document = {"type": "string", "format": "byte", "contentEncoding": "base64"}
NAMED_BASE64: Document = {"type": "object", "properties": {"b64": BASE64}, "required": ["b64"]}
# A shell expression for an image in base64, within a document in single quotes.
PHOTO = "'$(base64 -w0 photo.jpg)'"


class ExampleBody(NamedTuple):
    """`content`: schemas by media type; `document`: an example as JSON, "" if the example is a raw image."""

    content: Document
    document: str = ""

    def curl(self, options: str) -> str:
        """The command without its URL. It pipes the document, as an argument of curl could be too long."""
        if not self.document:
            return f"curl {options}--data-binary @photo.jpg"
        return f"echo '{self.document}' | curl {options}-H 'Content-Type: {JSON}' -d @-"


def example_bodies(service: Service) -> dict[str, ExampleBody]:
    """The bodies, mostly by the last part of the path."""
    limit = service.settings.max_images
    images: Document = {media_type: {} for media_type in sagemaker.IMAGE_TYPES}
    example = object_of(INPUT, NAMED_BASE64)
    return {
        "infer": ExampleBody({JSON: {"schema": _infer(limit)}}, INFER),
        "predict": ExampleBody(
            {JSON: {"schema": object_of("instances", array_of(NAMED_BASE64, limit))}}, PREDICT
        ),
        "classify": ExampleBody(
            {JSON: {"schema": object_of("examples", array_of(example, limit))}}, CLASSIFY
        ),
        "invocations": ExampleBody({JSON: {"schema": _invocations(limit)}} | images, INVOCATIONS),
        "hugging face": ExampleBody(images | {JSON: {"schema": _hugging_face()}}),
    }


INFER = f'{{"inputs": [{{"name": "{INPUT}", "shape": [1], "datatype": "BYTES", "data": ["{PHOTO}"]}}]}}'
PREDICT = f'{{"instances": [{{"b64": "{PHOTO}"}}]}}'
CLASSIFY = f'{{"examples": [{{"{INPUT}": {{"b64": "{PHOTO}"}}}}]}}'
INVOCATIONS = f'{{"inputs": ["{PHOTO}"]}}'


def object_of(name: str, schema: Document) -> Document:
    """The schema of an object with one required member."""
    return {"type": "object", "properties": {name: schema}, "required": [name]}


def array_of(schema: Document, limit: int) -> Document:
    """The schema of an array of 1 to `limit` items."""
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": limit}


def _infer(limit: int) -> Document:
    tensor = {
        "name": {"const": INPUT},
        "shape": {"type": "array", "items": {"type": "integer"}, "description": "`[N]` or `[N,1]`."},
        "datatype": {"const": "BYTES"},
        "data": array_of(BASE64, limit),
    }
    model_input = {"type": "object", "properties": tensor, "required": list(tensor)}
    return object_of("inputs", {"type": "array", "items": model_input, "minItems": 1, "maxItems": 1})


def _invocations(limit: int) -> Document:
    """One of the four forms of MLflow's protocol."""
    record = {"type": "object", "additionalProperties": BASE64, "minProperties": 1, "maxProperties": 1}
    row = {"type": "array", "items": BASE64, "minItems": 1, "maxItems": 1}
    split = object_of("data", array_of(row, limit)) | {"additionalProperties": False}
    return {
        "oneOf": [
            object_of("dataframe_split", split),
            object_of("dataframe_records", array_of(record, limit)),
            object_of("instances", array_of(BASE64, limit)),
            object_of("inputs", array_of(BASE64, limit)),
        ]
    }


def _hugging_face() -> Document:
    top = {"type": ["integer", "null"], "minimum": 1}
    parameters = {"type": ["object", "null"], "properties": {"top_k": top}}
    return {
        "type": "object",
        "properties": {"inputs": BASE64, "parameters": parameters},
        "required": ["inputs"],
    }
