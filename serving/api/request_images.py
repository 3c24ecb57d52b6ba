"""Extracts the encoded images from a request body: a multipart form, JSON with base64, or a raw image."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from serving.api.errors import ImageMissing, ImagesTooMany, ImageUrlRefused, MultipartMalformed
from serving.api.image_urls import is_url, is_url_field
from serving.api.json_images import is_json_type, looks_like_json, parse_image_document

# Accepted names of the form field: the documented one, and those that clients of other servers use.
FIELDS = ("image", "images", "file", "files", "data")
# A URL-encoded form; also curl's default type for any body.
URL_ENCODED = "application/x-www-form-urlencoded"
# Parts that a form may have besides its images, and bytes that are passed to the parser at once.
MAX_OTHER_PARTS, PIECE = 16, 32 * 1024


@dataclass
class MultipartForm:
    """The files of a form with their field names, in order, and the names of its text fields.

    `has_url`: is the value of a text field a URL?
    """

    files: list[tuple[str, bytes]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    has_url: bool = False

    def add(self, part: File | Field, data: bytes) -> None:
        """Adds a part; of a text field only its name is kept."""
        if isinstance(part, File) or _has_image_type(part):
            self.files.append((part.name or "", data))
        else:
            self.texts.append(part.name or "")
            self.has_url = self.has_url or is_url(data)


def parse_images(content_type: str, body: bytes, limit: int) -> list[bytes]:
    """The images of a request body, 1 to `limit` of them.

    A body that is neither a form nor JSON is taken for an image: many clients send no Content-Type or a wrong
    one.

    Raises `ImageMissing`, `ImagesTooMany`, `ImageUrlRefused`, `MultipartMalformed` or `DocumentMalformed`.
    """
    media_type, options = parse_options_header(content_type)
    if media_type.lower() == "multipart/form-data":
        images = _images_of_form(_parse_form(body, options.get("boundary", ""), limit))
    elif looks_like_json(body) and is_json_type(media_type):
        images = parse_image_document(body, limit)
    else:
        images = [_check_raw_image(body, media_type)]
    if len(images) > limit:
        raise ImagesTooMany(len(images), limit)
    return images


def _images_of_form(form: MultipartForm) -> list[bytes]:
    images = [data for name, data in form.files if name in FIELDS]
    if not images and form.has_url:
        raise ImageUrlRefused
    if not images:
        raise ImageMissing(_why_missing(form))
    return images


def _check_raw_image(body: bytes, media_type: str) -> bytes:
    """The body, unless it is clearly no image: then the error suggests what to change."""
    if not body:
        raise ImageMissing("The request has no body.")
    if looks_like_json(body):
        raise ImageMissing("The body looks like JSON, which needs the Content-Type application/json.")
    if media_type.lower() == URL_ENCODED and is_url_field(body):
        raise ImageUrlRefused
    return body


def _why_missing(form: MultipartForm) -> str:
    if texts := [name for name in form.texts if name in FIELDS]:
        return f"The field {texts[0]} holds text, not a file (with curl, the @ is missing)."
    if form.files or form.texts:
        return "The form has fields, but none that is called image and holds a file."
    return "The form is empty."


def _parse_form(body: bytes, boundary: str, limit: int) -> MultipartForm:
    """Parses a multipart form in memory; Werkzeug's own `request.files` writes large files to disk."""
    if not boundary:
        raise MultipartMalformed("there is no boundary in it")
    form, data = MultipartForm(), bytearray()
    try:
        for event in _events(body, boundary, limit + MAX_OTHER_PARTS):
            if isinstance(event, File | Field):
                part = event
            elif isinstance(event, Data):
                data += event.data
                if not event.more_data:
                    form.add(part, bytes(data))
                    data.clear()
    except RequestEntityTooLarge:
        raise MultipartMalformed(f"it has more than {limit + MAX_OTHER_PARTS} parts") from None
    # Werkzeug's message names an internal state of its parser, so it is not passed on.
    except ValueError:
        raise MultipartMalformed("a boundary or a header is missing, or it breaks off") from None
    return form


def _events(body: bytes, boundary: str, max_parts: int) -> Iterator[Event]:
    """The parser's events.

    The body is passed in pieces, so that a part's head can be limited to one piece: the parser itself has no
    limit, and megabytes of head would take seconds and a hundred times their size in memory.
    """
    decoder = MultipartDecoder(boundary.encode(), max_parts=max_parts)
    in_data, pieces_without_event = False, 0
    for start in range(0, len(body), PIECE):
        decoder.receive_data(body[start : start + PIECE])
        pieces_without_event = 0 if in_data else pieces_without_event + 1
        while not isinstance(event := decoder.next_event(), NeedData):
            in_data = isinstance(event, File | Field) or (isinstance(event, Data) and event.more_data)
            pieces_without_event = 0
            yield event
        if pieces_without_event > 1:
            raise MultipartMalformed(f"the head of a part has more than {PIECE:,} bytes")
    decoder.receive_data(None)
    while not isinstance(event := decoder.next_event(), Epilogue):
        yield event


def _has_image_type(part: Field) -> bool:
    """Is a part without a file name, as some clients send files, of an image type?"""
    return str(part.headers.get("content-type", "")).startswith(("image/", "application/octet-stream"))
