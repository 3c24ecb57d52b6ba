"""The errors of a request, with status and code, as one tree; those of an image are in `serving/errors.py`.

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
    ├── ExplanationTooSlow  501  explanation_too_slow
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

Each class builds its own sentence: what was sent, what is allowed, what to do. Published codes never change.
"""

from collections.abc import Iterable
from typing import ClassVar

from serving.errors import ServingError

CHALLENGE = {"WWW-Authenticate": "Bearer"}


class RequestError(ServingError):
    """Root of the tree. `headers` are added to the response."""

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
    """The path does not support the method; the header Allow lists those that it supports."""

    code, status = "method_not_allowed", 405

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        listed = ", ".join(sorted(allowed))
        super().__init__(
            f"The method {method} is not allowed at this path; allowed: {listed}.", {"Allow": listed}
        )


class RequestInvalid(RequestError):
    """The request cannot be understood."""

    code, status = "request_invalid", 400

    def __init__(self) -> None:
        super().__init__("The request cannot be understood. /docs has examples.")


class RequestMalformed(RequestError):
    """The bytes are not a valid HTTP/1.1 request."""

    code, status = "request_malformed", 400

    def __init__(self) -> None:
        super().__init__("This is not a valid HTTP/1.1 request.")


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
    """The head of the request did not arrive in time."""

    code, status = "head_too_slow", 408

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The head of the request was incomplete after {seconds:g} seconds.")


class ExpectationUnknown(RequestError):
    """The header Expect has a value other than 100-continue."""

    code, status = "expectation_unknown", 417

    def __init__(self) -> None:
        super().__init__("The only supported expectation is 100-continue.")


class CodingUnknown(RequestError):
    """The body has a transfer coding other than chunked."""

    code, status = "coding_unknown", 501

    def __init__(self) -> None:
        super().__init__("The only supported transfer coding is chunked.")


class RangeInvalid(RequestError):
    """The header Range asks for bytes that a file does not have."""

    code, status = "range_invalid", 416

    def __init__(self, size: int | None) -> None:
        super().__init__(
            f"The requested range is outside the file, which has {size} bytes.",
            {"Content-Range": f"bytes */{size}"},
        )


class ExplanationTooSlow(RequestError):
    """The model is too slow to explain a prediction by occlusion within the deadline of a request."""

    code, status = "explanation_too_slow", 501

    def __init__(self, needed: float, allowed: float) -> None:
        super().__init__(
            f"An explanation by occlusion takes about {needed:.1f} s here, and a request may take "
            f"{allowed:g} s. Ask the operator for a longer GOLDFISH_DEADLINE."
        )


class ParameterInvalid(RequestError):
    """A query parameter is out of its bounds."""

    code, status = "parameter_invalid", 400

    def __init__(self, name: str, allowed: str) -> None:
        super().__init__(f"The parameter {name} must be {allowed}.")


class BodyTooLarge(RequestError):
    """The body has more bytes than this server accepts."""

    code, status = "body_too_large", 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body has more than {limit:,} bytes. Send a smaller image, or fewer at once.")


class BodyIncomplete(RequestError):
    """The body ended before its declared length."""

    code, status = "body_incomplete", 400

    def __init__(self, received: int) -> None:
        super().__init__(f"The body broke off after {received:,} bytes. Send it again.")


class BodyTooSlow(RequestError):
    """The body did not arrive in time."""

    code, status = "body_too_slow", 408

    def __init__(self, received: int, seconds: float) -> None:
        super().__init__(f"After {seconds:g} seconds only {received:,} bytes of the body had come.")


class BodyMalformed(RequestError):
    """The chunked body is not valid HTTP/1.1, or consists of little more than chunk headers."""

    code, status = "body_malformed", 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"The chunked body is invalid: {reason}.")


class MultipartMalformed(RequestError):
    """The body is not the form that its Content-Type declares."""

    code, status = "multipart_malformed", 400

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The body is not the form that its Content-Type declares: {reason}. "
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
    """The request holds more images than the path accepts."""

    code, status = "images_too_many", 400

    def __init__(self, found: int, limit: int) -> None:
        hint = "/predict takes several." if limit == 1 else "Send them in several requests."
        super().__init__(f"The request holds {found} images and this path takes {limit}. {hint}")


class ImageUrlRefused(RequestError):
    """The request holds the URL of an image; this server fetches no URLs."""

    code, status = "image_url_refused", 400

    def __init__(self) -> None:
        super().__init__(
            "This is the URL of an image, and the server fetches nothing on behalf of a client. "
            "Download the image and send its bytes, as a file or in base64."
        )


class EncodingUnknown(RequestError):
    """The header Content-Encoding names an unsupported compression."""

    code, status = "encoding_unknown", 415

    def __init__(self) -> None:
        super().__init__(
            "The supported values of Content-Encoding are gzip, deflate and identity.",
            {"Accept-Encoding": "gzip, deflate"},
        )


class EncodingMalformed(RequestError):
    """The body is not compressed as its Content-Encoding declares."""

    code, status = "encoding_malformed", 400

    def __init__(self, encoding: str, reason: str) -> None:
        super().__init__(f"The body is not {encoding}, which its Content-Encoding declares: {reason}.")


class ModelUnknown(RequestError):
    """There is no model of this name, or it does not have this version or label."""

    code, status = "model_unknown", 404

    def __init__(self, kind: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no such {kind} here; known: {', '.join(known)}.")


class DocumentMalformed(RequestError):
    """The body is not the document that the protocol of this path requires."""

    code, status = "document_malformed", 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"The body is not the document that this path takes: {reason}. /docs has examples.")


class TensorInvalid(RequestError):
    """An input tensor does not fit the model, or the model does not have the requested output."""

    code, status = "tensor_invalid", 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"The tensors do not fit the model: {reason}.")


class SignatureWrong(RequestError):
    """The model has no signature of this name, or none for this method."""

    code, status = "signature_wrong", 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}. The signature is serving_default, for predict and classify.")


class TypeUnknown(RequestError):
    """The path does not accept the Content-Type."""

    code, status = "type_unknown", 415

    def __init__(self, allowed: str) -> None:
        super().__init__(f"The Content-Type is not one of those that this path takes: {allowed}.")


class LoadingRefused(RequestError):
    """Models cannot be loaded or unloaded over HTTP."""

    code, status = "loading_refused", 403

    def __init__(self) -> None:
        super().__init__(
            "Models cannot be loaded or unloaded over HTTP: the pin in git decides which one is served."
        )


class KeyMissing(RequestError):
    """This server requires an API key."""

    code, status = "api_key_missing", 401

    def __init__(self) -> None:
        super().__init__(
            "This server requires an API key, as `Authorization: Bearer <key>` or `X-API-Key: <key>`.",
            CHALLENGE,
        )


class KeyUnknown(RequestError):
    """The API key is not one of this server's keys."""

    code, status = "api_key_unknown", 401

    def __init__(self) -> None:
        super().__init__("The API key is not one of this server's keys.", CHALLENGE)


class KeyExpired(RequestError):
    """The API key has expired."""

    code, status = "key_expired", 401

    def __init__(self, name: str) -> None:
        super().__init__(f"The API key {name} has expired. Ask for a new one.", CHALLENGE)


class QuotaExceeded(RequestError):
    """The quota of the API key is used up; Retry-After has the seconds until the next request is allowed."""

    code, status = "quota_exceeded", 429

    def __init__(self, allowed: str, seconds: int) -> None:
        super().__init__(
            f"The quota of this API key is {allowed}, and it is used up. Ask again in {seconds} s.",
            {"Retry-After": str(seconds)},
        )


class RateLimited(RequestError):
    """The client has exceeded the rate limit; Retry-After has the seconds until it may send a request."""

    code, status = "rate_limited", 429

    def __init__(self, allowed: str, seconds: int) -> None:
        super().__init__(f"The limit is {allowed}. Ask again in {seconds} s.", {"Retry-After": str(seconds)})


class ServerBusy(RequestError):
    """The server is at its capacity; Retry-After has the seconds until it is worth trying again."""

    code, status = "server_busy", 503

    def __init__(self, seconds: int) -> None:
        super().__init__(
            f"The server is at its capacity. Ask again in {seconds} s; nothing was computed.",
            {"Retry-After": str(seconds)},
        )


class DeadlineExceeded(RequestError):
    """The prediction was not ready in time; Retry-After has the seconds until it is worth trying again."""

    code, status = "deadline_exceeded", 503

    def __init__(self, deadline: float, seconds: int) -> None:
        super().__init__(
            f"The prediction was not ready within {deadline:g} s. Ask again in {seconds} s.",
            {"Retry-After": str(seconds)},
        )


class NotReady(RequestError):
    """The server is about to stop."""

    code, status = "not_ready", 503

    def __init__(self) -> None:
        super().__init__("This server is about to stop. Ask another one.")


class WorkerStuck(RequestError):
    """A request has held a slot for several deadlines; the worker process is about to be replaced."""

    code, status = "worker_stuck", 503

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"A request has been running for {seconds:.0f} s, so this server's worker will be replaced. "
            "Ask another server meanwhile."
        )


class WorkerReplaced(RequestError):
    """The worker process was replaced before it answered the request; Retry-After has the seconds to wait."""

    code, status = "worker_replaced", 503

    def __init__(self) -> None:
        super().__init__(
            "This server's worker was replaced before the request was answered. Ask again in 1 s.",
            {"Retry-After": "1"},
        )


class ClientGone(RequestError):
    """The client closed the connection while its request was queued."""

    code, status = "client_gone", 400

    def __init__(self) -> None:
        super().__init__("The connection was closed while this request was queued; nothing was computed.")


class Internal(RequestError):
    """A fault of the server, which is in the log under the request_id."""

    code, status = "internal", 500

    def __init__(self) -> None:
        super().__init__("The server failed. The error is in its log, under the request_id of this response.")
