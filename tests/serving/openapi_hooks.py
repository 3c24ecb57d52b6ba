"""Hooks for schemathesis: constraints that a schema cannot express. A body of type image/png is a PNG."""

import io
from base64 import b64encode
from typing import Any

import schemathesis
from hypothesis import strategies
from PIL import Image

KINDS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
}


def encoded(kind: str, colour: tuple[int, int, int], size: tuple[int, int]) -> bytes:
    """A small image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def images(*kinds: str) -> strategies.SearchStrategy[bytes]:
    """A strategy for images of some formats."""
    channel, side = strategies.integers(0, 255), strategies.integers(8, 40)
    return strategies.builds(
        encoded,
        strategies.sampled_from(kinds),
        strategies.tuples(channel, channel, channel),
        strategies.tuples(side, side),
    )


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Restricts tensors to one element: no schema can express that the shape fits the data."""
    for path, operations in raw_schema["paths"].items():
        if path.endswith("/infer"):
            schema = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
            tensor = schema["properties"]["inputs"]["items"]["properties"]
            tensor["shape"], tensor["data"]["maxItems"] = {"const": [1]}, 1


# The format of base64 in OpenAPI; here it is always an image.
schemathesis.openapi.format("byte", images(*KINDS.values()).map(lambda data: b64encode(data).decode()))
for media_type, kind in KINDS.items():
    schemathesis.openapi.media_type(media_type, images(kind))
