"""Every request error has a status, a unique code and a complete sentence, and is listed in the tree."""

import importlib
import re
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from serving.api import errors
from serving.api.errors import RequestError
from serving.errors import ImageError, ServingError
from tests.repo.imports import modules
from tests.serving.servers import Server

# One line of the tree: class, status and code.
LINE = re.compile(r"^    [├└]── (\w+) +(\d{3})  (\w+)$", re.MULTILINE)
# Imports all modules of serving/, because errors are defined in many of them.
for path in modules("serving"):
    importlib.import_module(".".join(path.with_suffix("").parts))


def descendants(kind: type[ServingError]) -> Iterator[type[ServingError]]:
    """All classes below one."""
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


KINDS: list[type[RequestError]] = RequestError.__subclasses__()
EVERY = [kind for kind in descendants(ServingError) if kind.__module__.startswith("serving.")]


def test_tree_is_drawn() -> None:
    drawn = [(name, int(status), code) for name, status, code in LINE.findall(errors.__doc__ or "")]
    assert drawn == [(kind.__name__, kind.status, kind.code) for kind in KINDS]
    # No line of the tree has another format.
    assert len(drawn) == len(re.findall("[├└]", errors.__doc__ or ""))


def test_tree_is_flat() -> None:
    assert list(descendants(RequestError)) == KINDS


def test_codes_are_unique_in_all_of_serving() -> None:
    codes = Counter(vars(kind)["code"] for kind in EVERY if "code" in vars(kind))
    assert codes.keys() >= {
        "bundle_missing",
        "image_damaged",
        "settings_invalid",
        "digest_not_pinned",
        "internal",
    }
    assert {code: count for code, count in codes.items() if count > 1} == {}
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", KINDS)
def test_status_is_that_of_an_error(kind: type[RequestError]) -> None:
    assert 400 <= HTTPStatus(kind.status) <= 599


@pytest.mark.parametrize("kind", KINDS)
def test_class_has_a_line_for_the_documentation(kind: type[RequestError]) -> None:
    assert re.fullmatch(r"[A-Z][^\n]*\.", kind.__doc__ or "")


CODES = [kind.code for kind in (*KINDS, *ImageError.__subclasses__())]


@pytest.mark.parametrize("code", CODES)
def test_type_of_an_error_leads_to_its_line(server: Server, code: str) -> None:
    assert f'id="{code}"' in server.get("/docs").text


# One instance of each class, a part of its sentence, and its headers.
SAMPLES: list[tuple[RequestError, str, dict[str, str]]] = [
    (errors.RouteUnknown(), "/docs", {}),
    (errors.MethodNotAllowed("BREW", {"POST", "GET"}), "BREW", {"Allow": "GET, POST"}),
    (errors.RequestInvalid(), "/docs", {}),
    (errors.RequestMalformed(), "HTTP/1.1", {}),
    (errors.RequestLineTooLong(), "request line", {}),
    (errors.HeadTooLarge(), "header fields", {}),
    (errors.HeadTooSlow(10.0), "after 10 seconds", {}),
    (errors.ExpectationUnknown(), "100-continue", {}),
    (errors.CodingUnknown(), "chunked", {}),
    (errors.RangeInvalid(7), "7 bytes", {"Content-Range": "bytes */7"}),
    (errors.ExplanationTooSlow(12.34, 10.0), "takes about 12.3 s here, and a request may take 10 s", {}),
    (errors.ParameterInvalid("top", "a whole number"), "The parameter top must be a whole number", {}),
    (errors.BodyTooLarge(25_165_824), "25,165,824 bytes", {}),
    (errors.BodyIncomplete(1234), "1,234 bytes", {}),
    (errors.BodyTooSlow(1234, 30.0), "After 30 seconds only 1,234 bytes", {}),
    (errors.BodyMalformed("a chunk has no size"), "a chunk has no size", {}),
    (errors.MultipartMalformed("it breaks off"), "it breaks off", {}),
    (errors.ImageMissing("The form is empty."), "The form is empty. Send", {}),
    (errors.ImagesTooMany(17, 16), "holds 17 images and this path takes 16", {}),
    (errors.ImageUrlRefused(), "fetches nothing", {}),
    (errors.EncodingUnknown(), "gzip, deflate", {"Accept-Encoding": "gzip, deflate"}),
    (errors.EncodingMalformed("gzip", "it breaks off"), "is not gzip, which its", {}),
    (errors.ModelUnknown("label", ["champion"]), "no such label here; known: champion", {}),
    (errors.DocumentMalformed("it holds no image"), "it holds no image", {}),
    (errors.TensorInvalid("it has no shape"), "it has no shape", {}),
    (errors.SignatureWrong("The model has no regression"), "no regression. The signature", {}),
    (errors.TypeUnknown("application/json"), "application/json", {}),
    (errors.LoadingRefused(), "the pin in git", {}),
    (errors.KeyMissing(), "X-API-Key: <key>", {"WWW-Authenticate": "Bearer"}),
    (errors.KeyUnknown(), "not one of", {"WWW-Authenticate": "Bearer"}),
    (errors.KeyExpired("alice"), "alice has expired", {"WWW-Authenticate": "Bearer"}),
    (errors.QuotaExceeded("10/day", 7), "10/day", {"Retry-After": "7"}),
    (errors.RateLimited("60/minute", 7), "60/minute", {"Retry-After": "7"}),
    (errors.ServerBusy(7), "in 7 s", {"Retry-After": "7"}),
    (errors.DeadlineExceeded(2.5, 7), "within 2.5 s", {"Retry-After": "7"}),
    (errors.NotReady(), "about to stop", {}),
    (errors.WorkerStuck(20.4), "for 20 s", {}),
    (errors.WorkerReplaced(), "in 1 s", {"Retry-After": "1"}),
    (errors.ClientGone(), "closed", {}),
    (errors.Internal(), "request_id", {}),
]


def test_there_is_one_of_each() -> None:
    assert [type(error) for error, _, _ in SAMPLES] == KINDS


@pytest.mark.parametrize(("error", "part", "headers"), SAMPLES, ids=lambda sample: type(sample).__name__)
def test_sentence_is_whole(error: RequestError, part: str, headers: dict[str, str]) -> None:
    assert re.fullmatch(r"[A-Z][^\n]*[^.]\.", str(error))
    assert part in str(error)
    assert error.headers == headers


def test_several_images_are_sent_elsewhere_or_in_parts() -> None:
    assert "/predict takes several" in str(errors.ImagesTooMany(2, 1))
    assert "in several requests" in str(errors.ImagesTooMany(17, 16))
