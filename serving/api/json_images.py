"""Images in JSON: `{"image": "<base64>"}` or `{"images": [...]}`, of which each may be a data URL, too.

Base64 has many forms: with the alphabet of section 4 or 5 of RFC 4648, padded or not, broken into lines or
not. All of them are taken.
"""

import re
from binascii import a2b_base64
from urllib.parse import unquote

from msgspec import UNSET, Struct, UnsetType

from serving.api.errors import DocumentMalformed, ImageUrlRefused
from serving.api.image_urls import holds_url, is_url
from serving.api.protocols.json_documents import check, in_turn, parse

# No image begins so. UTF-8 with a mark and UTF-16 are no JSON, but were meant to be.
JSON = re.compile(rb"\xef\xbb\xbf|\xff\xfe|\xfe\xff|[ \t\r\n]*[{\[\"]")
# Bytes at the beginning that are looked at.
HEAD = 256
DATA_URL = re.compile(r"data:([^,]*),", re.IGNORECASE)
# From one alphabet to the other, without what breaks lines.
ALPHABET, SPACE = bytes.maketrans(b"-_", b"+/"), b" \t\r\n"


class ImageDocument(Struct):
    """Exactly one of the two."""

    image: str | UnsetType = UNSET
    images: list[str] | UnsetType = UNSET


def is_json_type(kind: str) -> bool:
    """Does a Content-Type, without its parameters, promise JSON?"""
    return kind.lower() == "application/json" or kind.lower().endswith("+json")


def looks_like_json(body: bytes) -> bool:
    """Does a body begin as documents do? Many clients send images under a type that is not theirs."""
    return JSON.match(body[:HEAD]) is not None


@in_turn
def read(body: bytes, limit: int) -> list[bytes]:
    """The images of a document, encoded; raises `DocumentMalformed` or `ImageUrlRefused`."""
    check(body, limit)
    try:
        document = parse(body, ImageDocument)
        if isinstance(document.image, str) and isinstance(document.images, UnsetType):
            return [decode(document.image, "image")]
        if isinstance(document.images, list) and isinstance(document.image, UnsetType):
            return [decode(text, f"images[{index}]") for index, text in enumerate(document.images)]
    except DocumentMalformed:
        # {"image": {"url": ...}}, say.
        if holds_url(body):
            raise ImageUrlRefused from None
        raise
    if holds_url(body):
        raise ImageUrlRefused
    raise DocumentMalformed('it must hold either image or images, in base64: {"image": "..."}')


def decode(text: str, name: str) -> bytes:
    """The bytes that base64 or a data URL stands for; `name`: what the document calls it."""
    text = text.strip()
    if data_url := DATA_URL.match(text):
        if not data_url[1].lower().rstrip().endswith(";base64"):
            raise DocumentMalformed(f"{name} is a data URL without base64, as in data:image/png;base64,iVBO")
        text = text[data_url.end() :]
        text = unquote(text) if "%" in text else text
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        # Tried only now, for it takes more memory.
        found = _leniently(text)
    if found is None:
        if is_url(text[:HEAD].encode()):
            raise ImageUrlRefused
        raise DocumentMalformed(f"{name} is neither base64 nor a data URL")
    return found


def _leniently(text: str) -> bytes | None:
    try:
        data = text.encode("ascii").translate(ALPHABET, SPACE).rstrip(b"=")
        return a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except ValueError:
        return None
