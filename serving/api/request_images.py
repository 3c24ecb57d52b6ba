"""From the body of a request to encoded images: a form with files, JSON with base64, or the image itself."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from serving.api import json_images
from serving.api.errors import ImageMissing, ImagesTooMany, ImageUrlRefused, MultipartMalformed
from serving.api.image_urls import is_url, is_url_field
from serving.api.json_images import is_json_type, looks_like_json

# The field's name by contract, and what clients of other servers call it.
FIELDS = ("image", "images", "file", "files", "data")
# A form that is sent like a query, which is also what curl calls any body unless told otherwise.
QUERY = "application/x-www-form-urlencoded"
# Parts of a form besides its images, and bytes of it that are looked at at a time.
MORE_PARTS, PIECE = 16, 32 * 1024


@dataclass
class Form:
    """The files of a form by field, in the order in which they came, and the names of its text fields.

    `has_url`: is one of the texts an address?
    """

    files: list[tuple[str, bytes]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    has_url: bool = False

    def add(self, part: File | Field, data: bytes) -> None:
        """Keeps the file of a part, or what is to be known of a text."""
        if isinstance(part, File) or _says_image(part):
            self.files.append((part.name or "", data))
        else:
            self.texts.append(part.name or "")
            self.has_url = self.has_url or is_url(data)


def images(content_type: str, body: bytes, limit: int) -> list[bytes]:
    """The images that a request holds, 1 to `limit` of them.

    Whatever is neither a form nor JSON is the image itself: many clients name no type, or a wrong one.
    Raises `ImageMissing`, `ImagesTooMany`, `ImageUrlRefused`, `MultipartMalformed` or `DocumentMalformed`.
    """
    kind, options = parse_options_header(content_type)
    if kind.lower() == "multipart/form-data":
        found = _files(_parse(body, options.get("boundary", ""), limit))
    elif looks_like_json(body) and is_json_type(kind):
        found = json_images.read(body, limit)
    else:
        found = [_image(body, kind)]
    if len(found) > limit:
        raise ImagesTooMany(len(found), limit)
    return found


def _files(form: Form) -> list[bytes]:
    found = [data for name, data in form.files if name in FIELDS]
    if not found and form.has_url:
        raise ImageUrlRefused
    if not found:
        raise ImageMissing(_why_missing(form))
    return found


def _image(body: bytes, kind: str) -> bytes:
    """A body that is no document; one that only looks so is told what it lacks."""
    if not body:
        raise ImageMissing("The request has no body.")
    if looks_like_json(body):
        raise ImageMissing("The body looks like JSON, which needs the Content-Type application/json.")
    if kind.lower() == QUERY and is_url_field(body):
        raise ImageUrlRefused
    return body


def _why_missing(form: Form) -> str:
    if texts := [name for name in form.texts if name in FIELDS]:
        return f"The field {texts[0]} holds text, not a file (with curl, the @ is missing)."
    if form.files or form.texts:
        return "The form has fields, but none that is called image and holds a file."
    return "The form is empty."


def _parse(body: bytes, boundary: str, limit: int) -> Form:
    """Takes a form apart. Werkzeug's own `request.files` would write large files to the disk."""
    if not boundary:
        raise MultipartMalformed("there is no boundary in it")
    form, data = Form(), bytearray()
    try:
        for event in _events(body, boundary, limit + MORE_PARTS):
            if isinstance(event, File | Field):
                part = event
            elif isinstance(event, Data):
                data += event.data
                if not event.more_data:
                    form.add(part, bytes(data))
                    data.clear()
    except RequestEntityTooLarge:
        raise MultipartMalformed(f"it has more than {limit + MORE_PARTS} parts") from None
    # Werkzeug says in which state it was, which helps nobody who has not read it.
    except ValueError:
        raise MultipartMalformed("a boundary or a header is missing, or it breaks off") from None
    return form


def _events(body: bytes, boundary: str, parts: int) -> Iterator[Event]:
    """What the form consists of, in its order.

    It is fed in pieces, because the decoder takes the head of a part apart however large it is: megabytes of
    it would cost seconds and a hundred times the memory.
    """
    decoder = MultipartDecoder(boundary.encode(), max_parts=parts)
    in_data, silent = False, 0
    for start in range(0, len(body), PIECE):
        decoder.receive_data(body[start : start + PIECE])
        silent = 0 if in_data else silent + 1
        while not isinstance(event := decoder.next_event(), NeedData):
            in_data = isinstance(event, File | Field) or (isinstance(event, Data) and event.more_data)
            silent = 0
            yield event
        if silent > 1:
            raise MultipartMalformed(f"the head of a part has more than {PIECE:,} bytes")
    decoder.receive_data(None)
    while not isinstance(event := decoder.next_event(), Epilogue):
        yield event


def _says_image(field: Field) -> bool:
    """Some clients send a file without a name; its type tells."""
    return str(field.headers.get("content-type", "")).startswith(("image/", "application/octet-stream"))
