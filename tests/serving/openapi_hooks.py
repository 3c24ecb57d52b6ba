"""For schemathesis: what a schema cannot say. A body of type image/png is a PNG, not just any bytes."""

import io

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
    """A small picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def pictures(*kinds: str) -> strategies.SearchStrategy[bytes]:
    """Pictures of some of the kinds."""
    channel, side = strategies.integers(0, 255), strategies.integers(8, 40)
    return strategies.builds(
        encoded,
        strategies.sampled_from(kinds),
        strategies.tuples(channel, channel, channel),
        strategies.tuples(side, side),
    )


for media_type, kind in KINDS.items():
    schemathesis.openapi.media_type(media_type, pictures(kind))
