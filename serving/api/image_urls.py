"""Addresses in the place of images: this server fetches nothing, for a stranger would choose what."""

import re
from urllib.parse import unquote_to_bytes

# http://, s3://, gs:// and whatever else there is; file: has no host, and //host takes the scheme of a page.
_URL = (
    rb"(?:(?:[Bb]lob:)?[A-Za-z][A-Za-z0-9+.-]{1,20}:(?:\\?/){2}|[Ff][Ii][Ll][Ee]:"
    rb"|(?:\\?/){2}[\w.-]+\.[\w-]+(?:\\?/|:))"
)
URL = re.compile(rb"\s*" + _URL)
# As a value of a JSON document, which may write a slash with a backslash before it.
URL_VALUE = re.compile(rb'[:\[,]\s*"(?:\s|\\[nrt])*' + _URL)
# As the first field of a form that is sent like a query.
URL_FIELD = re.compile(rb"[\w.\[\]-]{1,64}=" + URL.pattern)
# Bytes at the beginning that are looked at.
HEAD = 256


def is_url(text: bytes) -> bool:
    """Is it an address, as far as its beginning tells?"""
    return URL.match(text[:HEAD]) is not None


def is_url_field(body: bytes) -> bool:
    """Does a form that is sent like a query begin with an address?"""
    return URL_FIELD.match(unquote_to_bytes(body[:HEAD].replace(b"+", b" "))) is not None


def holds_url(document: bytes) -> bool:
    """Has a JSON document an address in it, whatever it is for?"""
    return URL_VALUE.search(document) is not None
