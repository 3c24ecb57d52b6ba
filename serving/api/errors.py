"""What can be wrong with a request, as one tree; `serving/errors.py` has what can be wrong with an image.

    RequestError
    ├── RouteUnknown        404  route_unknown
    ├── MethodNotAllowed    405  method_not_allowed
    ├── RequestInvalid      400  request_invalid
    ├── RequestMalformed    400  request_malformed
    ├── RequestLineTooLong  414  request_line_too_long
    ├── HeadTooLarge        431  head_too_large
    ├── HeadTooSlow         408  head_too_slow
    ├── ExpectationUnknown  417  expectation_unknown
    ├── CodingUnknown       501  coding_unknown
    ├── RangeInvalid        416  range_invalid
    ├── ParameterInvalid    400  parameter_invalid
    ├── BodyTooLarge        413  body_too_large
    ├── BodyIncomplete      400  body_incomplete
    ├── BodyTooSlow         408  body_too_slow
    ├── BodyMalformed       400  body_malformed
    ├── MultipartMalformed  400  multipart_malformed
    ├── ImageMissing        400  image_missing
    ├── ImagesTooMany       400  images_too_many
    ├── ImageUrlRefused     400  image_url_refused
    ├── EncodingUnknown     415  encoding_unknown
    ├── EncodingMalformed   400  encoding_malformed
    ├── ModelUnknown        404  model_unknown
    ├── DocumentMalformed   400  document_malformed
    ├── TensorInvalid       400  tensor_invalid
    ├── SignatureWrong      400  signature_wrong
    ├── TypeUnknown         415  type_unknown
    ├── LoadingRefused      403  loading_refused
    ├── KeyMissing          401  api_key_missing
    ├── KeyUnknown          401  api_key_unknown
    ├── KeyExpired          401  key_expired
    ├── QuotaExceeded       429  quota_exceeded
    ├── RateLimited         429  rate_limited
    ├── ServerBusy          503  server_busy
    ├── DeadlineExceeded    503  deadline_exceeded
    ├── NotReady            503  not_ready
    ├── WorkerStuck         503  worker_stuck
    ├── WorkerReplaced      503  worker_replaced
    ├── ClientGone          400  client_gone
    └── Internal            500  internal

Each class builds its own sentence: what came, what is allowed, what to do. Codes never change once published.
"""

from collections.abc import Iterable
from typing import ClassVar

from serving.errors import ServingError

CHALLENGE = {"WWW-Authenticate": "Bearer"}


class RequestError(ServingError):
    """Root of the tree. `headers` go out with the answer."""

    status: ClassVar[int]

    def __init__(self, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.headers = headers or {}


class RouteUnknown(RequestError):
    """There is nothing at this path."""

    code, status = "route_unknown", 404

    def __init__(self) -> None:
        super().__init__("There is nothing at this path. /docs lists what there is.")


class MethodNotAllowed(RequestError):
    """The path is for another method; the header Allow names it."""

    code, status = "method_not_allowed", 405

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        listed = ", ".join(sorted(allowed))
        super().__init__(f"{method} is not for this path; {listed} is.", {"Allow": listed})


class RequestInvalid(RequestError):
    """The request cannot be understood."""

    code, status = "request_invalid", 400

    def __init__(self) -> None:
        super().__init__("The request cannot be understood. /docs has examples.")


class RequestMalformed(RequestError):
    """What came is no HTTP/1.1."""

    code, status = "request_malformed", 400

    def __init__(self) -> None:
        super().__init__("This is not a request as HTTP/1.1 has them.")


class RequestLineTooLong(RequestError):
    """The path and its parameters are too long."""

    code, status = "request_line_too_long", 414

    def __init__(self) -> None:
        super().__init__("The request line is too long. Send data in the body.")


class HeadTooLarge(RequestError):
    """There are too many header fields, or too large ones."""

    code, status = "head_too_large", 431

    def __init__(self) -> None:
        super().__init__("The header fields are too many or too large.")


class HeadTooSlow(RequestError):
    """The head of the request did not come in time."""

    code, status = "head_too_slow", 408

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The head of the request was not there after {seconds:g} seconds.")


class ExpectationUnknown(RequestError):
    """The header Expect asks for something else than 100-continue."""

    code, status = "expectation_unknown", 417

    def __init__(self) -> None:
        super().__init__("The only expectation that is known is 100-continue.")


class CodingUnknown(RequestError):
    """The body comes in a transfer coding other than chunked."""

    code, status = "coding_unknown", 501

    def __init__(self) -> None:
        super().__init__("The only transfer coding that is known is chunked.")


class RangeInvalid(RequestError):
    """The header Range asks for bytes that a file does not have."""

    code, status = "range_invalid", 416

    def __init__(self, size: int | None) -> None:
        super().__init__(
            f"The file has {size} bytes; ask for some of them.", {"Content-Range": f"bytes */{size}"}
        )


class ParameterInvalid(RequestError):
    """A query parameter is out of its bounds."""

    code, status = "parameter_invalid", 400

    def __init__(self, name: str, allowed: str) -> None:
        super().__init__(f"The parameter {name} must be {allowed}.")


class BodyTooLarge(RequestError):
    """The body has more bytes than this server takes."""

    code, status = "body_too_large", 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body has more than {limit:,} bytes. Send a smaller image, or fewer at once.")


class BodyIncomplete(RequestError):
    """The body broke off before its end."""

    code, status = "body_incomplete", 400

    def __init__(self, received: int) -> None:
        super().__init__(f"The body broke off after {received:,} bytes. Send it again.")


class BodyTooSlow(RequestError):
    """The body did not come in time."""

    code, status = "body_too_slow", 408

    def __init__(self, received: int, seconds: float) -> None:
        super().__init__(f"After {seconds:g} seconds only {received:,} bytes of the body had come.")


class BodyMalformed(RequestError):
    """The chunks of the body are not as HTTP/1.1 has them, or hardly anything but frames."""

    code, status = "body_malformed", 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"The body in chunks cannot be read: {reason}.")


class MultipartMalformed(RequestError):
    """The body is not the form that its Content-Type promises."""

    code, status = "multipart_malformed", 400

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The body is not the form that its Content-Type promises: {reason}. "
            "Let the client set Content-Type and boundary by itself: `curl -F image=@photo.jpg`."
        )


class ImageMissing(RequestError):
    """The request holds no image."""

    code, status = "image_missing", 400

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason} Send a form with the file in the field image (`curl -F image=@photo.jpg`), "
            "or the image itself as the body (`curl --data-binary @photo.jpg`)."
        )


class ImagesTooMany(RequestError):
    """The request holds more images than the path takes."""

    code, status = "images_too_many", 400

    def __init__(self, found: int, limit: int) -> None:
        hint = "/predict takes several." if limit == 1 else "Send them in several requests."
        super().__init__(f"The request holds {found} images and this path takes {limit}. {hint}")


class ImageUrlRefused(RequestError):
    """The request holds the address of an image, and this server fetches nothing."""

    code, status = "image_url_refused", 400

    def __init__(self) -> None:
        super().__init__(
            "This is the address of an image, and the server fetches nothing on behalf of a client: "
            "get the image and send its bytes, as a file or in base64."
        )


class EncodingUnknown(RequestError):
    """The header Content-Encoding names a compression that is not known here."""

    code, status = "encoding_unknown", 415

    def __init__(self) -> None:
        super().__init__(
            "The only values of Content-Encoding that are known are gzip, deflate and identity.",
            {"Accept-Encoding": "gzip, deflate"},
        )


class EncodingMalformed(RequestError):
    """The body is not compressed as its Content-Encoding says."""

    code, status = "encoding_malformed", 400

    def __init__(self, encoding: str, reason: str) -> None:
        super().__init__(f"The body is not {encoding}, which its Content-Encoding promises: {reason}.")


class ModelUnknown(RequestError):
    """There is no model of this name here, or it has not this version or label."""

    code, status = "model_unknown", 404

    def __init__(self, kind: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no such {kind} here; known: {', '.join(known)}.")


class DocumentMalformed(RequestError):
    """The body is not the document that the protocol of this path wants."""

    code, status = "document_malformed", 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"The body is not the document that this path takes: {reason}. /docs has examples.")


class TensorInvalid(RequestError):
    """A tensor is not what the model takes, or what was asked for is not what it gives."""

    code, status = "tensor_invalid", 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"The tensors do not fit the model: {reason}.")


class SignatureWrong(RequestError):
    """The model has no signature of this name, or none for this method."""

    code, status = "signature_wrong", 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}. The signature is serving_default, for predict and classify.")


class TypeUnknown(RequestError):
    """The header Content-Type names something else than this path takes."""

    code, status = "type_unknown", 415

    def __init__(self, allowed: str) -> None:
        super().__init__(f"The Content-Type is not one of those that this path takes: {allowed}.")


class LoadingRefused(RequestError):
    """Which model is served is not decided over HTTP."""

    code, status = "loading_refused", 403

    def __init__(self) -> None:
        super().__init__(
            "Models are neither loaded nor unloaded over HTTP: the pin in git says what is served."
        )


class KeyMissing(RequestError):
    """This server wants an API key."""

    code, status = "api_key_missing", 401

    def __init__(self) -> None:
        super().__init__(
            "This server wants an API key, as `Authorization: Bearer <key>` or `X-API-Key: <key>`.", CHALLENGE
        )


class KeyUnknown(RequestError):
    """The API key is not one of this server."""

    code, status = "api_key_unknown", 401

    def __init__(self) -> None:
        super().__init__("The API key is not one of this server's.", CHALLENGE)


class KeyExpired(RequestError):
    """The API key was good until a moment that has passed."""

    code, status = "key_expired", 401

    def __init__(self, name: str) -> None:
        super().__init__(f"The API key {name} has expired. Ask for a new one.", CHALLENGE)


class QuotaExceeded(RequestError):
    """The requests that the API key may make are used up; Retry-After says when it may make another one."""

    code, status = "quota_exceeded", 429

    def __init__(self, allowed: str, seconds: int) -> None:
        super().__init__(
            f"The quota of this API key is {allowed}, and it is used up. Ask again in {seconds} s.",
            {"Retry-After": str(seconds)},
        )


class RateLimited(RequestError):
    """This client has asked too often; Retry-After says when it may again."""

    code, status = "rate_limited", 429

    def __init__(self, allowed: str, seconds: int) -> None:
        super().__init__(f"The limit is {allowed}. Ask again in {seconds} s.", {"Retry-After": str(seconds)})


class ServerBusy(RequestError):
    """All places are taken; Retry-After says when to ask again."""

    code, status = "server_busy", 503

    def __init__(self, seconds: int) -> None:
        super().__init__(
            f"All places are taken. Ask again in {seconds} s; nothing was computed.",
            {"Retry-After": str(seconds)},
        )


class DeadlineExceeded(RequestError):
    """The answer was not ready in time; Retry-After says when to ask again."""

    code, status = "deadline_exceeded", 503

    def __init__(self, deadline: float, seconds: int) -> None:
        super().__init__(
            f"The answer was not ready within {deadline:g} s. Ask again in {seconds} s.",
            {"Retry-After": str(seconds)},
        )


class NotReady(RequestError):
    """The server is about to stop."""

    code, status = "not_ready", 503

    def __init__(self) -> None:
        super().__init__("This server is about to stop. Ask another one.")


class WorkerStuck(RequestError):
    """A request has held a slot for several deadlines; the worker is about to be replaced."""

    code, status = "worker_stuck", 503

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"A request has been at work for {seconds:.0f} s, so this server's worker will be replaced. "
            "Ask another server meanwhile."
        )


class WorkerReplaced(RequestError):
    """The worker was replaced before the request was answered; Retry-After says when to ask again."""

    code, status = "worker_replaced", 503

    def __init__(self) -> None:
        super().__init__(
            "This server's worker was replaced before the request was answered. Ask again in 1 s.",
            {"Retry-After": "1"},
        )


class ClientGone(RequestError):
    """The client closed the connection before its turn came."""

    code, status = "client_gone", 400

    def __init__(self) -> None:
        super().__init__("The connection was closed before the turn of this request; nothing was computed.")


class Internal(RequestError):
    """A fault of the server; the log has it under the request_id."""

    code, status = "internal", 500

    def __init__(self) -> None:
        super().__init__("Something went wrong here. The log has it, under the request_id of this answer.")
