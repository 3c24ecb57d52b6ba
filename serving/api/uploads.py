"""From the body of a request to encoded images: a form with files, or the image itself."""

from dataclasses import dataclass, field

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from serving.api.errors import ImageMissing, ImagesTooMany, MultipartMalformed

# The field's name by contract, and what clients of other servers call it.
FIELDS = ("image", "images", "file", "files", "data")
MAX_PARTS = 64
MAX_TEXT = 64 * 1024


@dataclass
class Form:
    """The files of a form by field, in the order in which they came, and the names of its text fields."""

    files: list[tuple[str, bytes]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def images(content_type: str, body: bytes, limit: int) -> list[bytes]:
    """The images that a request holds, 1 to `limit` of them.

    Whatever is no multipart form is the image itself: many clients name no type, or a wrong one.
    Raises `ImageMissing`, `ImagesTooMany` or `MultipartMalformed`.
    """
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data":
        if not body:
            raise ImageMissing("The request has no body.")
        return [body]
    form = _parse(body, options.get("boundary", ""))
    found = [data for name, data in form.files if name in FIELDS]
    if not found:
        raise ImageMissing(_why_missing(form))
    if len(found) > limit:
        raise ImagesTooMany(len(found), limit)
    return found


def _why_missing(form: Form) -> str:
    if texts := [name for name in form.texts if name in FIELDS]:
        return f"The field {texts[0]} holds text, not a file (with curl, the @ is missing)."
    if form.files or form.texts:
        return "The form has fields, but none that is called image and holds a file."
    return "The form is empty."


def _parse(body: bytes, boundary: str) -> Form:
    """Takes a form apart. Werkzeug's own `request.files` would write large files to the disk."""
    if not boundary:
        raise MultipartMalformed("there is no boundary in it")
    form = Form()
    decoder = MultipartDecoder(boundary.encode(), max_form_memory_size=None, max_parts=MAX_PARTS)
    try:
        decoder.receive_data(body)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, File) or (isinstance(event, Field) and _says_image(event)):
                form.files.append((event.name or "", _data(decoder)))
            elif isinstance(event, Field):
                form.texts.append(event.name or "")
                if len(_data(decoder)) > MAX_TEXT:
                    raise MultipartMalformed(f"a text field has more than {MAX_TEXT:,} bytes")
    except RequestEntityTooLarge:
        raise MultipartMalformed(f"it has more than {MAX_PARTS} parts") from None
    # Werkzeug says in which state it was, which helps nobody who has not read it.
    except ValueError:
        raise MultipartMalformed("a boundary or a header is missing, or it breaks off") from None
    return form


def _says_image(field: Field) -> bool:
    """Some clients send a file without a name; its type tells."""
    return str(field.headers.get("content-type", "")).startswith(("image/", "application/octet-stream"))


def _data(decoder: MultipartDecoder) -> bytes:
    parts = []
    while isinstance(event := decoder.next_event(), Data):
        parts.append(event.data)
        if not event.more_data:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise ValueError("a part has no end")
