"""Multipart forms of current clients, old clients and attackers: their files, or an error of the request."""

import random
import re
from contextlib import suppress

import pytest
import requests

from serving.api.errors import ImageMissing, ImagesTooMany, MultipartMalformed, RequestError
from serving.api.request_images import MAX_OTHER_PARTS, parse_images
from tests.serving.images import PHOTO, encode_image

LIMIT = 16
KIND = "multipart/form-data; boundary=b"
JPEG = encode_image(PHOTO, "JPEG")
NAMED = b'Content-Disposition: form-data; name="image"'
FILE = NAMED + b'; filename="x.jpg"'
MEGABYTE = 2**20
PARTS = LIMIT + MAX_OTHER_PARTS


def part(data: bytes = JPEG, head: bytes = FILE) -> bytes:
    """A part: its headers, an empty line, its bytes."""
    return head + b"\r\n\r\n" + data


def form(*parts: bytes, boundary: bytes = b"b") -> bytes:
    """A form of parts."""
    lines = (b"--" + boundary + b"\r\n" + each + b"\r\n" for each in parts)
    return b"".join(lines) + b"--" + boundary + b"--\r\n"


def text(name: bytes, data: bytes) -> bytes:
    """A text field."""
    return part(data, b'Content-Disposition: form-data; name="%b"' % name)


WHOLE = form(part())
STRANGE = b"'()+_,-./:=? x"
# Bytes within an image that look like boundaries but are none.
ALIKE = b"DATA --b--\r\n \r\n--\r\n--bc\r\n--b \x00\r\n-b\r\n--B\r\n\r--\n--\r\n--b-x"

NUMBERS = [b"%d" % number for number in range(LIMIT)]

# Content-Type, body, and the files in the body.
UNDERSTOOD: dict[str, tuple[str, bytes, list[bytes]]] = {
    "one": (KIND, WHOLE, [JPEG]),
    "a quoted boundary": ('multipart/form-data; boundary="b"', WHOLE, [JPEG]),
    "a boundary of strange characters": (
        f'multipart/form-data; boundary="{STRANGE.decode()}"',
        form(part(), boundary=STRANGE),
        [JPEG],
    ),
    "a long boundary": (
        f"multipart/form-data; boundary={'-' * 70}b",
        form(part(), boundary=b"-" * 70 + b"b"),
        [JPEG],
    ),
    "parameters around the boundary": ("multipart/form-data;charset=utf-8 ; Boundary=b;x=y", WHOLE, [JPEG]),
    "text before and after": (KIND, b"hello\r\n" + WHOLE + b"good bye", [JPEG]),
    "an empty line before": (KIND, b"\r\n" + WHOLE, [JPEG]),
    "no line break at the end": (KIND, WHOLE[:-2], [JPEG]),
    "spaces after the boundary": (KIND, WHOLE.replace(b"--b\r\n", b"--b \t\r\n"), [JPEG]),
    "bare LF": (KIND, WHOLE.replace(b"\r\n", b"\n"), [JPEG.replace(b"\r\n", b"\n")]),
    "bare CR": (KIND, form(part(b"DATA")).replace(b"\r\n", b"\r"), [b"DATA"]),
    "a file of zero bytes": (KIND, form(part(b"")), [b""]),
    "an empty name of the file": (KIND, form(part(head=NAMED + b'; filename=""')), [JPEG]),
    "a name with a charset": (KIND, form(part(head=NAMED + b"; filename*=UTF-8''%C3%A4.jpg")), [JPEG]),
    "a name with an unknown charset": (KIND, form(part(head=NAMED + b"; filename*=klingon''%C3%A4")), [JPEG]),
    "a name in parts": (KIND, form(part(head=NAMED + b'; filename*0="a"; filename*1=".jpg"')), [JPEG]),
    "a name in UTF-8": (KIND, form(part(head=NAMED + '; filename="äöü.jpg"'.encode())), [JPEG]),
    "a name with quotes": (KIND, form(part(head=NAMED + rb'; filename="a\"b%22\\.jpg"')), [JPEG]),
    "a path as the name": (KIND, form(part(head=NAMED + rb'; filename="..\..\x.jpg"')), [JPEG]),
    "a field without quotes": (KIND, form(part(head=FILE.replace(b'"', b""))), [JPEG]),
    "a header in other letters": (KIND, form(part(head=FILE.replace(b"Content-D", b"CONTENT-d"))), [JPEG]),
    "a header on two lines": (KIND, form(part(head=FILE.replace(b"; name", b";\r\n\tname"))), [JPEG]),
    "a header without a colon": (KIND, form(part(head=b"hello\r\n" + FILE)), [JPEG]),
    "another disposition": (KIND, form(part(head=FILE.replace(b"form-data", b"attachment"))), [JPEG]),
    "a type and no name": (KIND, form(part(head=NAMED + b"\r\nContent-Type: image/jpeg")), [JPEG]),
    "a type of bytes": (
        KIND,
        form(part(head=NAMED + b"\r\nContent-Type: application/octet-stream")),
        [JPEG],
    ),
    "base64, which no browser sends": (
        KIND,
        form(part(b"/9j/4AA=", FILE + b"\r\nContent-Transfer-Encoding: base64")),
        [b"/9j/4AA="],
    ),
    "a form within": (KIND, form(part(form(part(), boundary=b"inner"))), [form(part(), boundary=b"inner")]),
    "a mixed part": (
        KIND,
        form(part(head=FILE + b"\r\nContent-Type: multipart/mixed; boundary=inner")),
        [JPEG],
    ),
    "what looks like a boundary": (KIND, form(part(ALIKE)), [ALIKE]),
    "line breaks at the ends": (KIND, form(part(b"\r\n\r\nDATA\r\n\r\n")), [b"\r\n\r\nDATA\r\n\r\n"]),
    "the same field twice": (KIND, form(part(b"1"), part(b"2")), [b"1", b"2"]),
    "text and file of one name": (KIND, form(text(b"image", b"x"), part()), [JPEG]),
    "other files": (KIND, form(part(b"?", FILE.replace(b"image", b"mask")), part()), [JPEG]),
    "as many as are allowed": (KIND, form(*map(part, NUMBERS)), NUMBERS),
    "as many parts as are allowed": (KIND, form(*[text(b"x", b"y")] * (PARTS - 1), part()), [JPEG]),
    "no form": ("image/jpeg", JPEG, [JPEG]),
    "another kind of form": ("application/x-www-form-urlencoded", WHOLE, [WHOLE]),
    "no type": ("", JPEG, [JPEG]),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_understood(name: str) -> None:
    kind, body, files = UNDERSTOOD[name]
    assert parse_images(kind, body, LIMIT) == files


def test_boundary_may_contain_what_regular_expressions_do() -> None:
    assert parse_images('multipart/form-data; boundary="(.*)+[a"', form(part(), boundary=b"(.*)+[a"), 1) == [
        JPEG
    ]


def test_files_of_requests_arrive_as_they_are() -> None:
    # Random bytes contain all kinds of line breaks, and sometimes two dashes.
    chance = random.Random(1)
    for _ in range(200):
        files = [chance.randbytes(chance.choice([0, 1, 2, 50, 3000])) for _ in range(chance.randrange(1, 6))]
        prepared = requests.Request(
            "POST", "http://localhost", files=[("image", (f"{len(file)}", file)) for file in files]
        ).prepare()
        assert isinstance(prepared.body, bytes)
        assert parse_images(str(prepared.headers["Content-Type"]), prepared.body, LIMIT) == files


# Content-Type, body, and a part of the error's sentence.
MALFORMED: dict[str, tuple[str, bytes, str]] = {
    "no boundary": ("multipart/form-data", WHOLE, "no boundary"),
    "an empty boundary": ("multipart/form-data; boundary=", WHOLE, "no boundary"),
    "an empty quoted boundary": ('multipart/form-data; boundary=""', WHOLE, "no boundary"),
    "a quote that does not close": ('multipart/form-data; boundary="b', WHOLE, "no boundary"),
    "another boundary": ("multipart/form-data; boundary=c", WHOLE, "boundary"),
    "a boundary in capitals": ("multipart/form-data; boundary=B", WHOLE, "boundary"),
    "a boundary that is not ASCII": ("multipart/form-data; boundary=\xe4", WHOLE, "boundary"),
    "no body": (KIND, b"", "boundary"),
    "no form": (KIND, JPEG, "boundary"),
    "cut in the first boundary": (KIND, WHOLE[:3], "breaks off"),
    "cut in a header": (KIND, WHOLE[:30], "breaks off"),
    "cut in a file": (KIND, WHOLE[:300], "breaks off"),
    "cut in the last boundary": (KIND, WHOLE[:-4], "breaks off"),
    "no last boundary": (KIND, WHOLE.removesuffix(b"--b--\r\n"), "breaks off"),
    "a boundary and nothing more": (KIND, b"--b\r\n", "breaks off"),
    "no Content-Disposition": (KIND, form(part(head=b"Content-Type: image/jpeg")), "header"),
    "no headers": (KIND, form(b"\r\n" + JPEG), "header"),
    "no empty line": (KIND, form(FILE), "breaks off"),
    # Werkzeug decodes headers as UTF-8 and rejects the form if they are not.
    "a name in Latin-1": (KIND, form(part(head=NAMED + b'; filename="\xe4.jpg"')), "header"),
    "the boundary within a file": (KIND, form(part(b"DATA\r\n--b\r\nDATA")), "breaks off"),
    "a part too many": (KIND, form(*[text(b"x", b"y")] * PARTS, part()), f"{PARTS} parts"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    kind, body, reason = MALFORMED[name]
    with pytest.raises(MultipartMalformed, match=re.escape(reason)):
        parse_images(kind, body, LIMIT)


MISSING: dict[str, tuple[str, bytes, str]] = {
    "an empty form": (KIND, form(), "The form is empty"),
    "an empty form, and no line break": (KIND, b"--b--", "The form is empty"),
    "text": (KIND, form(text(b"image", b"x.jpg")), "The field image holds text, not a file"),
    "text in another field": (KIND, form(text(b"photo", b"x")), "none that is called image"),
    "a file in another field": (KIND, form(part(head=FILE.replace(b"image", b"photo"))), "called image"),
    "no field": (KIND, form(part(head=b"Content-Disposition: form-data; filename=x")), "called image"),
    "the field in capitals": (KIND, form(part(head=FILE.replace(b"image", b"IMAGE"))), "called image"),
    "a disposition of nothing": (KIND, form(part(head=b"Content-Disposition:")), "called image"),
    "nothing at all": ("image/jpeg", b"", "no body"),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing(name: str) -> None:
    kind, body, reason = MISSING[name]
    with pytest.raises(ImageMissing, match=re.escape(reason)):
        parse_images(kind, body, LIMIT)


@pytest.mark.parametrize("limit", [1, LIMIT])
def test_a_file_too_many(limit: int) -> None:
    with pytest.raises(ImagesTooMany, match=f"{limit + 1} images and this path takes {limit}"):
        parse_images(KIND, form(*[part()] * (limit + 1)), limit)


HUGE = {
    "many headers": FILE + b"\r\nX: y" * (MEGABYTE // 6),
    "many lines": FILE + b"\r\n" + b"x\n" * (MEGABYTE // 2),
    "a long header": FILE + b"\r\nX: " + b"y" * MEGABYTE,
    "a header on many lines": FILE + b"\r\n y" * (MEGABYTE // 4),
    "many options": FILE + b"; x=y" * (MEGABYTE // 5),
    "a long name": NAMED + b'; filename="' + b"y" * MEGABYTE + b'"',
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_head_of_a_part_is_refused(name: str) -> None:
    with pytest.raises(MultipartMalformed):
        parse_images(KIND, form(part(head=HUGE[name])), LIMIT)


TOKENS = [
    *(b"\r\n", b"\n", b"\r", b"--b", b"--b--", b"--b\r\n", b"\r\n\r\n", b'"', b";", b"=", b"*", b":", b"\0"),
    *(b"\xff", b"%", b"''", b"\\", b"name", b"filename*=utf-8''%", b"Content-Disposition: ", b"\r\n ", b"*0"),
    *(b"name=image;", FILE, JPEG[:20]),
]
KINDS = [KIND] * 6 + [
    'multipart/form-data; boundary="b"',
    "multipart/form-data",
    "multipart/form-data; boundary",
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The data with some bytes changed, duplicated, removed or inserted."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        # Half of the changes are in the head of the first part.
        at = chance.choice([chance.randrange(len(changed) + 1), chance.randrange(min(len(changed), 90) + 1)])
        size = chance.choice([1, 1, 3, 40])
        match chance.randrange(4):
            case 0:
                changed[at : at + size] = chance.randbytes(size)
            case 1:
                changed[at:at] = changed[at : at + size]
            case 2:
                del changed[at : at + size]
            case _:
                changed[at:at] = chance.choice(TOKENS)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(10))
def test_mutated_forms_give_files_or_an_error_of_the_request(seed: int) -> None:
    chance, files = random.Random(seed), 0
    whole = form(part(), text(b"comment", b"hello"), part(b"DATA", FILE + b"\r\nContent-Type: image/jpeg"))
    for _ in range(1000):
        body, limit = mutated(whole, chance), chance.choice([1, LIMIT])
        with suppress(RequestError):
            found = parse_images(chance.choice(KINDS), body, limit)
            assert 1 <= len(found) <= limit
            assert sum(map(len, found)) <= len(body)
            files += len(found)
    # Some forms remain valid.
    assert files > 100


@pytest.mark.parametrize("seed", range(3))
def test_mutated_types_give_files_or_an_error_of_the_request(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(1000):
        # WSGI passes headers as Latin-1.
        kind = mutated(b'multipart/form-data; charset="utf-8"; boundary=b', chance).decode("latin-1")
        with suppress(RequestError):
            assert len(parse_images(kind, WHOLE, 1)) == 1
