"""Detects URLs in place of images. The server never fetches a URL that a client chooses (SSRF)."""

import re
from urllib.parse import unquote_to_bytes

# Any scheme (http, s3, gs, ...); file: without a host; and //host, which inherits the scheme of a page.
_URL = (
    rb"(?:(?:[Bb]lob:)?[A-Za-z][A-Za-z0-9+.-]{1,20}:(?:\\?/){2}|[Ff][Ii][Ll][Ee]:"
    rb"|(?:\\?/){2}[\w.-]+\.[\w-]+(?:\\?/|:))"
)
URL = re.compile(rb"\s*" + _URL)
# A value in a JSON document, in which a slash may be escaped.
URL_VALUE = re.compile(rb'[:\[,]\s*"(?:\s|\\[nrt])*' + _URL)
# The first field of a URL-encoded form.
URL_FIELD = re.compile(rb"[\w.\[\]-]{1,64}=" + URL.pattern)
# Bytes at the beginning that are examined.
EXAMINED = 256


def is_url(text: bytes) -> bool:
    """Does the text begin like a URL?"""
    return URL.match(text[:EXAMINED]) is not None


def is_url_field(body: bytes) -> bool:
    """Is the first field of a URL-encoded form a URL?"""
    return URL_FIELD.match(unquote_to_bytes(body[:EXAMINED].replace(b"+", b" "))) is not None


def contains_url(document: bytes) -> bool:
    """Is any value of a JSON document a URL?"""
    return URL_VALUE.search(document) is not None
