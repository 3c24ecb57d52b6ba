"""Images in JSON: all variants of base64, data URLs; and URLs, which the server never fetches."""

import base64
import json
import textwrap
import threading
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest

from tests.serving.api.protocols.calls import HALF_PAIRS, NO_UTF_8, ODD, ODD_VALUES, with_text, with_value
from tests.serving.api.test_routes import Options, best, check_problem, upload
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import Server
from tests.serving.wire import ask, post

RED, GREEN, BLUE = (one_colour_png(rgb) for rgb in COLOURS.values())
# An image whose base64 has the characters in which the alphabets differ, and padding.
COLOURFUL = next(
    image
    for side in range(8, 60)
    if (image := one_colour_png((side, 255, side)) + bytes(side % 3))
    and {"+", "/", "="} <= set(base64.b64encode(image + b"\xfb\xff\xfe").decode())
)
COLOURFUL += b"\xfb\xff\xfe"
JSON = {"Content-Type": "application/json"}
PLAIN = base64.b64encode(COLOURFUL).decode()
SAFE = base64.urlsafe_b64encode(COLOURFUL).decode()
WRAPPED = base64.encodebytes(COLOURFUL).decode()
FORMS = {
    "plain": PLAIN,
    "without padding": PLAIN.rstrip("="),
    "for URLs": SAFE,
    "for URLs, without padding": SAFE.rstrip("="),
    "in lines": WRAPPED,
    "in lines of a mail": WRAPPED.replace("\n", "\r\n"),
    "in lines, without padding": WRAPPED.replace("=", ""),
    "indented": textwrap.indent(WRAPPED, "  \t"),
    "a data URL": f"data:image/png;base64,{PLAIN}",
    "a data URL of another type": f"data:image/jpeg;base64,{PLAIN}",
    "a data URL without a type": f"data:;base64,{PLAIN}",
    "a data URL with parameters": f"data:image/png;charset=utf-8;name=a.png;base64,{PLAIN}",
    "a data URL in capitals": f"DATA:IMAGE/PNG;BASE64,{PLAIN}",
    "a data URL for URLs": f"data:image/png;base64,{SAFE.rstrip('=')}",
    "a data URL, quoted": f"data:image/png;base64,{quote(PLAIN, safe='')}",
    "a data URL in lines": f"\n data:image/png;base64,\n{WRAPPED}",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", ["/inference", "/predict"])
def test_forms_of_base64(server: Server, path: str, form: str) -> None:
    assert {"+", "/", "="} <= set(PLAIN)
    response = server.post(path, json={"image": FORMS[form]})
    assert response.json() if path == "/inference" else response.json()["predictions"]
    assert best(response) == ["green"]


TYPES = [
    *("application/json", "Application/JSON", "application/json; charset=utf-8", "application/ld+json"),
    "application/vnd.api+json;version=1",
]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("before", ["", " \r\n\t"])
def test_types(server: Server, kind: str, before: str) -> None:
    body = before + json.dumps({"image": PLAIN})
    assert best(server.post("/predict", data=body, headers={"Content-Type": kind})) == ["green"]


def b64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def test_several_images(server: Server) -> None:
    images = [b64(BLUE), f"data:image/png;base64,{b64(RED)}", b64(GREEN)]
    response = server.post("/predict?top=1", json={"images": images})
    assert best(response) == ["blue", "red", "green"]
    assert best(server.post("/inference", json={"images": images[:1]})) == ["blue"]
    # Some encoders escape slashes.
    body = json.dumps({"images": images}).replace("/", "\\/")
    assert best(server.post("/predict", data=body, headers=JSON)) == ["blue", "red", "green"]
    # The same digits as for a form.
    assert (
        server.post("/predict", json={"image": images[0]}).json()["predictions"]
        == server.post("/predict", **upload(BLUE)).json()["predictions"]
    )


# Document, status, code and a part of the sentence.
REFUSED: dict[str, tuple[Any, int, str, str]] = {
    "nothing": ({}, 400, "document_malformed", "image or images"),
    "both": ({"image": PLAIN, "images": [PLAIN]}, 400, "document_malformed", "either image or images"),
    "no image": ({"images": []}, 400, "document_malformed", "holds no image"),
    "an empty image": ({"image": ""}, 400, "image_empty", "zero bytes"),
    "an empty data URL": ({"image": "data:image/png;base64,"}, 400, "image_empty", "zero bytes"),
    "a number": ({"image": 7}, 400, "document_malformed", "image"),
    "nothing at all": ({"image": None}, 400, "document_malformed", "image"),
    "a list": ({"image": [PLAIN]}, 400, "document_malformed", "image"),
    "an object": ({"image": {"b64": PLAIN}}, 400, "document_malformed", "image"),
    "a text for several": ({"images": PLAIN}, 400, "document_malformed", "images"),
    "a list outside": ([PLAIN], 400, "document_malformed", "object"),
    "a text outside": (PLAIN, 400, "document_malformed", "object"),
    "too many": ({"images": [PLAIN] * 17}, 400, "images_too_many", "takes 16"),
    "far too many": ({"images": [PLAIN] * 3000}, 400, "document_malformed", "16 images"),
    "no base64": ({"image": "{}"}, 400, "document_malformed", "image is neither base64"),
    "no base64 in the middle": ({"image": PLAIN[:9] + "!" + PLAIN[9:]}, 400, "document_malformed", "neither"),
    "padding in the middle": ({"image": PLAIN[:8] + "=" + PLAIN[8:]}, 400, "document_malformed", "neither"),
    "one digit": ({"image": "A"}, 400, "document_malformed", "neither base64"),
    "an umlaut": ({"image": "\u00e4" * 8}, 400, "document_malformed", "neither base64"),
    "a name of a file": ({"image": "photo.jpg"}, 400, "document_malformed", "neither base64"),
    "a path of Windows": ({"image": "C:\\photo.jpg"}, 400, "document_malformed", "neither base64"),
    "the second one": ({"images": [PLAIN, "?"]}, 400, "document_malformed", "images[1]"),
    "a data URL of SVG": ({"image": "data:image/svg+xml,<svg>"}, 400, "document_malformed", "without"),
    "a data URL of text": ({"image": "data:,hello"}, 400, "document_malformed", "without base64"),
    "a data URL without a comma": ({"image": "data:image/png;base64"}, 400, "document_malformed", "neither"),
    "base64 of what is no image": ({"image": b64(b"hello")}, 415, "image_unrecognised", "Send JPEG"),
    "base64 of base64": ({"image": b64(PLAIN.encode())}, 415, "image_unrecognised", "Send JPEG"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(server: Server, name: str) -> None:
    document, status, code, part = REFUSED[name]
    assert part in check_problem(server.post("/predict", json=document), status, code)


def test_which_of_several_is_no_image(server: Server) -> None:
    response = server.post("/predict", json={"images": [b64(RED), b64(b"?")]})
    check_problem(response, 415, "image_unrecognised", index=1)


def test_inference_takes_one(server: Server) -> None:
    response = server.post("/inference", json={"images": [PLAIN, PLAIN]})
    assert "/predict takes several" in check_problem(response, 400, "images_too_many")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_json_with_another_type_gets_a_hint(server: Server, kind: str | None) -> None:
    body = json.dumps({"image": PLAIN})
    response = server.post("/inference", data=body.encode(), headers={"Content-Type": kind})
    assert "Content-Type application/json" in check_problem(response, 400, "image_missing")


def test_documents_are_as_strict_as_those_of_protocols(server: Server) -> None:
    good = msgspec.json.encode({"images": [b64(RED)]})
    bad = {
        f"{kind} {place}": body
        for kind, text in (NO_UTF_8 | HALF_PAIRS).items()
        for place, body in with_text(good, text).items()
    }
    bad |= {name: good.decode().encode(name) for name in ("utf-16", "utf-8-sig")}
    odd = {
        f"{kind} {place}": body for kind, text in ODD.items() for place, body in with_text(good, text).items()
    } | {
        f"{kind} {place}": body
        for kind, value in ODD_VALUES.items()
        for place, body in with_value(good, value).items()
    }
    for name, body in (bad | odd).items():
        response = server.post("/predict", data=body, headers=JSON)
        if response.status_code != 200 or name in bad:
            check_problem(response, 400, "document_malformed")


URLS = [
    *("http://example.com/cat.jpg", "https://example.com/cat.jpg?x=y#z", "HTTPS://EXAMPLE.COM/CAT.JPG"),
    *("s3://bucket/cat.jpg", "gs://bucket/cat.jpg", "ftp://example.com/cat.jpg", "file:///etc/passwd"),
    *("file:/etc/passwd", "//example.com/cat.jpg", "http://169.254.169.254/latest/meta-data/", "blob:https://x/1"),
    *("http://[::1]:80/cat.jpg", " \n https://example.com/cat.jpg", "https://u:p@example.com/cat.jpg"),
]  # fmt: skip
FETCHED = "image_url_refused"


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("path", ["/inference", "/predict"])
def test_no_address_is_fetched(server: Server, path: str, url: str) -> None:
    requests_by_name: dict[str, Options] = {
        "json": {"json": {"image": url}},
        "json, several": {"json": {"images": [url]}},
        "json, as others have it": {"json": {"image": {"url": url}}},
        "json, another name": {"json": {"image_url": url}},
        "json, slashes": {"data": json.dumps({"image": url}).replace("/", "\\/"), "headers": JSON},
        "form, text": {"files": {"image": (None, url)}},
        "form, text, another name": {"files": {"url": (None, url)}},
        "form, file": {"files": {"image": ("cat.jpg", url)}},
        "form like a query": {"data": {"image": url}},
        "body": {"data": url.encode()},
        "body, text": {"data": url.encode(), "headers": {"Content-Type": "text/plain"}},
        "body, image": {"data": url.encode(), "headers": {"Content-Type": "image/jpeg"}},
    }
    for name, options in requests_by_name.items():
        response = server.post(path, **options)
        assert response.json()["code"] == FETCHED, (name, response.json())
        assert "fetches nothing" in check_problem(response, 400, FETCHED)


@pytest.mark.parametrize("url", URLS)
def test_no_protocol_fetches_either(server: Server, url: str) -> None:
    given = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [url]}
    for path, document in {
        "/v2/models/colours/infer": {"inputs": [given]},
        "/v1/models/colours:predict": {"instances": [{"b64": url}]},
        "/v1/models/colours:classify": {"examples": [{"image": {"b64": url}}]},
        "/invocations": {"inputs": [url]},
        "/hf/classify": {"inputs": url},
    }.items():
        response = server.post(path, json=document)
        assert (response.status_code, response.json()["code"]) == (400, FETCHED), path
    records = server.post("/invocations", json={"dataframe_records": [{"image": url}]})
    assert records.json()["code"] == FETCHED
    assert ask(server, post("/hf/classify", url.encode())).json["code"] == FETCHED


def test_an_address_besides_an_image_does_not_matter(server: Server) -> None:
    source = "https://example.com/cat.jpg"
    for image in (PLAIN, WRAPPED):
        assert best(server.post("/predict", json={"image": image, "source": source})) == ["green"]
        response = server.post("/hf/classify", json={"inputs": image, "meta": [source]})
        assert response.json()[0]["label"] == "green"
    files: list[tuple[str, Any]] = [("image", ("a.png", RED)), ("source", (None, source))]
    assert best(server.post("/predict", files=files)) == ["red"]
    query = urlencode({"comment": "x", "image": "y"})
    assert server.post("/predict", data=query).json()["code"] == "image_unrecognised"


def test_large_documents_stay_within_the_memory(server: Server) -> None:
    """Eight documents of 24 MB at once, in the variant of base64 that needs most memory."""
    before, peak, ended = server.pss, [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            peak[0] = max(peak[0], server.pss)

    body = b'{"image": "' + b"_8" * (12_500_000 - 20) + b'"}'
    watcher = threading.Thread(target=watch)
    watcher.start()
    senders = [
        threading.Thread(target=lambda: ask(server, post("/predict", body, "Content-Type: application/json")))
        for _ in range(8)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    ended.set()
    watcher.join()
    # The body budget is 256 MB, and large bodies are parsed one at a time.
    assert peak[0] - before < 350
