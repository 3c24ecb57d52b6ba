"""Images in JSON: `{"image": "<base64>"}` or `{"images": [...]}`. Each may also be a data URL.

Accepts all common variants of base64: the alphabets of sections 4 and 5 of RFC 4648, with or without padding
and line breaks.
"""

import re
from binascii import a2b_base64
from urllib.parse import unquote

from msgspec import UNSET, Struct, UnsetType

from serving.api.errors import DocumentMalformed, ImageUrlRefused
from serving.api.image_urls import contains_url, is_url
from serving.api.protocols.json_documents import check_document, one_large_body_at_a_time, parse

# No image format begins like this. A BOM or UTF-16 is invalid in JSON, but shows that JSON was meant.
JSON = re.compile(rb"\xef\xbb\xbf|\xff\xfe|\xfe\xff|[ \t\r\n]*[{\[\"]")
# Bytes at the beginning that are examined.
EXAMINED = 256
DATA_URL = re.compile(r"data:([^,]*),", re.IGNORECASE)
# Translates the URL-safe alphabet to the standard one, and removes whitespace.
ALPHABET, SPACE = bytes.maketrans(b"-_", b"+/"), b" \t\r\n"


class ImageDocument(Struct):
    """Has exactly one of the two members."""

    image: str | UnsetType = UNSET
    images: list[str] | UnsetType = UNSET


def is_json_type(media_type: str) -> bool:
    """Is a media type, without its parameters, one of JSON?"""
    return media_type.lower() == "application/json" or media_type.lower().endswith("+json")


def looks_like_json(body: bytes) -> bool:
    """Does the body begin like JSON? Needed because many clients send images with a wrong Content-Type."""
    return JSON.match(body[:EXAMINED]) is not None


@one_large_body_at_a_time
def parse_image_document(body: bytes, limit: int) -> list[bytes]:
    """The encoded images of a document; raises `DocumentMalformed` or `ImageUrlRefused`."""
    check_document(body, limit)
    try:
        document = parse(body, ImageDocument)
        if isinstance(document.image, str) and isinstance(document.images, UnsetType):
            return [decode(document.image, "image")]
        if isinstance(document.images, list) and isinstance(document.image, UnsetType):
            return [decode(text, f"images[{index}]") for index, text in enumerate(document.images)]
    except DocumentMalformed:
        # For example {"image": {"url": ...}}, as other servers accept it.
        if contains_url(body):
            raise ImageUrlRefused from None
        raise
    if contains_url(body):
        raise ImageUrlRefused
    raise DocumentMalformed('it must hold either image or images, in base64: {"image": "..."}')


def decode(text: str, name: str) -> bytes:
    """Decodes base64 or a data URL. `name` is the member's name, for errors."""
    text = text.strip()
    if data_url := DATA_URL.match(text):
        if not data_url[1].lower().rstrip().endswith(";base64"):
            raise DocumentMalformed(f"{name} is a data URL without base64, as in data:image/png;base64,iVBO")
        text = text[data_url.end() :]
        text = unquote(text) if "%" in text else text
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        # Lenient decoding copies the text several times, so it is tried only if strict decoding fails.
        found = _decode_leniently(text)
    if found is None:
        if is_url(text[:EXAMINED].encode()):
            raise ImageUrlRefused
        raise DocumentMalformed(f"{name} is neither base64 nor a data URL")
    return found


def _decode_leniently(text: str) -> bytes | None:
    try:
        data = text.encode("ascii").translate(ALPHABET, SPACE).rstrip(b"=")
        return a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except ValueError:
        return None
