"""An HTTP client for an MLflow server: REST API and artifact proxy."""

import base64
import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any, Self, cast
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from serving.artifact.registry.address import (
    Credentials,
    is_other_host,
    plaintext_exposure,
    without_credentials,
)
from serving.artifact.registry.database import DIGEST_TAG
from serving.artifact.registry.errors import RegistryUnavailable, quote_location

API_PATH, ARTIFACTS_PATH = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
# Longest pause between two reads, and the lowest average rate in bytes per second at which a file may arrive.
TIMEOUT_SECONDS, MIN_BYTES_PER_SECOND = 10.0, 20_000
# Seconds before each retry after a failed connection.
RETRY_DELAYS = (0.2, 0.5, 1.0)
# Statuses of servers and proxies for temporary failures.
RETRIED_STATUSES = (429, 502, 503, 504)
# Largest API response and largest part of an error response that are read, in bytes.
MAX_RESPONSE_BYTES, MAX_ERROR_BYTES = 4 * 2**20, 4096
# Versions per page of a search, and the largest number of pages.
PAGE_SIZE, MAX_PAGES = 100, 100
CHUNK_BYTES = 64 * 1024
# Ways in which a connection fails. A host name that cannot be encoded raises ValueError.
CONNECTION_ERRORS = (OSError, HTTPException, ValueError)

# Called with the number of bytes of a file that have been received.
OnProgress = Callable[[int], None]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the target could be another host, which would receive the password."""

    def redirect_request(self, *_: object) -> None:
        return None


@dataclass(frozen=True)
class RegistryServer:
    """An MLflow server. `base_url` is its address without user and password."""

    uri: str = field(repr=False)
    base_url: str
    authorization: str = field(repr=False)
    opener: urllib.request.OpenerDirector = field(repr=False)

    @classmethod
    def at(cls, uri: str, credentials: Credentials) -> Self:
        """Parses an address; does not connect yet."""
        parts = _parse_address(uri)
        if reason := plaintext_exposure(uri, credentials):
            raise RegistryUnavailable(uri, reason)
        host = parts.netloc.rpartition("@")[2]
        context = ssl.create_default_context()
        if credentials.insecure_tls:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return cls(
            uri,
            f"{parts.scheme}://{host}{quote(parts.path.rstrip('/'), safe='/%')}",
            _authorization_header(uri, parts, credentials),
            urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context)),
        )

    def find(self, name: str, digest: str) -> tuple[int, str] | None:
        """Number and file location of the first version with this digest."""
        with self._checking_response():
            if (first := self._search(name, digest)) is None:
                return None
            number = int(first["version"])
            found = self._call_api("model-versions/get-download-uri", name=name, version=number)
            return number, str(found["artifact_uri"])

    def find_run(self, name: str, digest: str) -> str | None:
        """Where the artifacts of the run are that made this version; None without version or run."""
        with self._checking_response():
            first = self._search(name, digest) or {}
            if not (run := str(first.get("run_id") or "")):
                return None
            return str(self._call_api("runs/get", run_id=run)["run"]["info"]["artifact_uri"])

    def _search(self, name: str, digest: str) -> dict[str, Any] | None:
        """MLflow's description of the first version with this digest."""
        query = f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'"
        found, token = list[dict[str, Any]](), ""
        for _ in range(MAX_PAGES):
            page = self._call_api(
                "model-versions/search", filter=query, max_results=PAGE_SIZE, page_token=token
            )
            found += page.get("model_versions", [])
            if not (token := page.get("next_page_token", "")):
                break
        return min(found, key=lambda entry: int(entry["version"]), default=None)

    def find_alias(self, name: str, alias: str) -> tuple[int, str | None] | None:
        """Number and digest of the version with an alias; None instead of a digest if it has no such tag."""
        with self._checking_response():
            model = self._call_api("registered-models/get", name=name)["registered_model"]
            numbers = {entry["alias"]: int(entry["version"]) for entry in model.get("aliases", [])}
            if alias not in numbers:
                return None
            number = numbers[alias]
            version = self._call_api("model-versions/get", name=name, version=number)["model_version"]
            digests = [str(tag["value"]) for tag in version.get("tags", []) if tag["key"] == DIGEST_TAG]
            return number, digests[0] if digests else None

    def artifact_reader(self, location: str) -> Callable[[str, int, OnProgress], bytes | None]:
        """Reads files at `mlflow-artifacts:/path` or `mlflow-artifacts://<this host>/path`."""
        if is_other_host(location, self.base_url):
            where = quote_location(location)
            reason = f"the files of the version are at {where}, another host, which is not contacted"
            raise RegistryUnavailable(self.uri, f"{reason}; register it through this registry's own address")
        root = f"{self.base_url}{ARTIFACTS_PATH}/{quote(urlsplit(location).path.strip('/'), safe='/%')}"
        return lambda name, limit, on_progress: self.get(f"{root}/{quote(name)}", limit, on_progress)

    def get(self, url: str, limit: int, on_progress: OnProgress) -> bytes | None:
        """The body at a URL, at most `limit` bytes and one more; None for 404. Retries failed connections."""
        for delay in RETRY_DELAYS:
            with suppress(*CONNECTION_ERRORS):
                return self._get_once(url, limit, on_progress)
            time.sleep(delay)
        try:
            return self._get_once(url, limit, on_progress)
        except CONNECTION_ERRORS as error:
            cause = error.reason if isinstance(error, URLError) else error
            reason = f"{str(cause) or type(cause).__name__}, {len(RETRY_DELAYS) + 1} times"
            raise RegistryUnavailable(self.uri, reason) from None

    def _get_once(self, url: str, limit: int, on_progress: OnProgress) -> bytes | None:
        request = urllib.request.Request(url)  # noqa: S310  (`_parse_address` checked its scheme)
        if self.authorization:
            request.add_header("Authorization", self.authorization)
        try:
            with self.opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                return _read_body(response, limit, on_progress)
        except HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise self._error_for_status(error) from None

    def _error_for_status(self, error: HTTPError) -> Exception:
        """A `ConnectionError` for a temporary failure, which is retried, else `RegistryUnavailable`."""
        body = _read_body(cast(HTTPResponse, error.fp), MAX_ERROR_BYTES, _ignore_progress)
        reason = f"it responds with {error.code}: {_error_message(body) or error.reason}"
        if error.code in RETRIED_STATUSES:
            return ConnectionError(reason)
        if target := error.headers.get("Location", ""):
            shown = without_credentials(target.partition("?")[0])
            reason += f", and redirects to {shown}, which is not followed"
        if error.code in (401, 403):
            reason += (
                "; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or _TOKEN, set the credentials"
            )
        return RegistryUnavailable(self.uri, reason)

    def _call_api(self, route: str, **query: str | int) -> Any:  # noqa: ANN401  (the caller checks its shape)
        url = f"{self.base_url}{API_PATH}/{route}?{urlencode(query)}"
        body = self.get(url, MAX_RESPONSE_BYTES, _ignore_progress)
        if body is None:
            raise RegistryUnavailable(
                self.uri, f"it responds with 404 to {API_PATH}/{route}, a route of MLflow"
            )
        return json.loads(body)

    @contextmanager
    def _checking_response(self) -> Iterator[None]:
        """Turns responses of another shape than MLflow's, such as a login page, into an error."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            reason = f"its response is not MLflow's ({type(error).__name__}: {error})"
            raise RegistryUnavailable(self.uri, reason) from None


def _parse_address(uri: str) -> SplitResult:
    """The parts of a server's address. An invalid one is not quoted: any part of it may be a password."""
    with suppress(ValueError):
        parts = urlsplit(uri)
        plain = not parts.query and not parts.fragment and "@" not in parts.path
        # Reading `port` raises ValueError for one that is out of range.
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and plain:
            return parts
    advice = "write sqlite:///path or http(s)://[user:password@]host[:port][/prefix]"
    raise RegistryUnavailable(uri, f"{advice}, with %XX for characters such as / and @ in a password")


def _authorization_header(uri: str, parts: SplitResult, credentials: Credentials) -> str:
    """The header's value, empty without credentials. A user in the address comes first, as in MLflow."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user:
        user, password = credentials.user, credentials.password
    if user:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    token = credentials.token.strip()
    # http.client's own error would quote the token.
    if not (token.isascii() and token.isprintable()):
        raise RegistryUnavailable(uri, "the token contains characters that a token cannot have")
    return f"Bearer {token}" if token else ""


def _read_body(response: HTTPResponse, limit: int, on_progress: OnProgress) -> bytes:
    """Reads to the end, or one byte beyond the limit if the body is longer."""
    announced, data = response.length, bytearray()
    wanted = limit + 1 if announced is None else min(announced, limit + 1)
    seconds = TIMEOUT_SECONDS + limit / MIN_BYTES_PER_SECOND
    deadline = time.monotonic() + seconds
    while len(data) < wanted and (chunk := response.read1(min(CHUNK_BYTES, wanted - len(data)))):
        data += chunk
        on_progress(len(data))
        # The socket's timeout bounds each read, not their sum.
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(data):,} bytes came in {seconds:.0f} seconds")
    if announced is not None and len(data) < wanted:
        raise ConnectionError(f"{len(data):,} bytes came of {announced:,}")
    return bytes(data)


def _error_message(body: bytes) -> str:
    """MLflow's message in an error response, or the first characters of any other body."""
    text = body.decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["message"])
    return text.strip()[:200].rstrip(".")


def _ignore_progress(_: int) -> None:
    """For downloads without a progress display."""
