"""An MLflow registry, read without MLflow's library: a database of this machine, or a server.

It gives the version that has a digest, and the bytes of its files.

    ServingError
    ├── RegistryUnavailable  registry_unavailable
    ├── VersionMissing       version_missing
    └── VersionDamaged       version_damaged

No sentence of theirs holds a password, for each strips the address that it is given.
"""

import base64
import hashlib
import ipaddress
import json
import os
import re
import sqlite3
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Self, cast
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from serving.errors import ServingError

# Tag of a version: its identity. `pipeline.registry.mlflow_version` sets it.
DIGEST = "digest"
SQLITE = "sqlite:///"
API, FILES = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
# MLflow keeps the rows of deleted versions, with this stage.
DELETED = "Deleted_Internal"
# Seconds that a registry may be silent, and bytes per second that a file must come with on the whole.
PATIENCE, SLOWEST = 10.0, 20_000
# Seconds before each new try, after a connection has failed.
PAUSES = (0.2, 0.5, 1.0)
# A server or a proxy that says one of these may soon say something else.
AGAIN = (429, 502, 503, 504)
# What is read of an answer of the API, and of one that refuses; versions on a page, and pages.
ANSWER_BYTES, REFUSAL_BYTES, PAGE, PAGES = 4 * 2**20, 4096, 100, 100
# What a location may hold of a registry's answer, in a sentence.
SHOWN = 300
PORTS = {"http": 80, "https": 443}
CHUNK = 64 * 1024
# How a connection ends badly; a host whose name cannot be encoded is a ValueError.
BROKEN = (OSError, HTTPException, ValueError)

# Is told how many bytes of a file have come.
Tick = Callable[[int], None]
# Gives a file by its name: at most as many bytes as the number says and one more, None if it is not there.
Fetch = Callable[[str, int, Tick], bytes | None]


@dataclass(frozen=True)
class Credentials:
    """What a server asks for, unless its address brings a user: a user with a password, or else a token."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    insecure_tls: bool = False
    # May they travel where others can read them?
    plain_http: bool = False


NOBODY = Credentials()


class RegistryUnavailable(ServingError):
    """The registry is not there, or refuses, or is of a kind that cannot be read here."""

    code = "registry_unavailable"

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(f"The MLflow registry at {shown(uri)} cannot be used: {_printable(reason)}.")


class VersionMissing(ServingError):
    """The registry is in order and does not have what is pinned."""

    code = "version_missing"

    def __init__(self, uri: str, name: str, digest: str) -> None:
        super().__init__(
            f"The MLflow registry at {shown(uri)} has no version of {name} with digest {digest}: "
            "`make run` registers one, or another registry has it."
        )


class VersionDamaged(ServingError):
    """A file in the registry is not the one that was registered; nothing of it may be used."""

    code = "version_damaged"

    def __init__(self, version: str, file: str, reason: str) -> None:
        super().__init__(f"{version} is not what was pinned: {file} {reason}.")


@dataclass(frozen=True)
class Version:
    """A registered version, whose files can be read."""

    name: str
    number: int
    registry: str
    fetch: Fetch

    def __str__(self) -> str:
        return f"{self.name} version {self.number} at {shown(self.registry)}"

    def read(self, file: str, sha256: str, size: int, tick: Tick) -> bytes:
        """The bytes of a file, at most `size`, after their SHA-256 was found right; or `VersionDamaged`."""
        data = self.fetch(file, size, tick)
        if data is None:
            raise VersionDamaged(str(self), file, "is not there")
        if len(data) > size:
            raise VersionDamaged(str(self), file, f"has more than {size:,} bytes")
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise VersionDamaged(str(self), file, f"should have the SHA-256 {sha256} and has {found}")
        return data


def find(name: str, digest: str, uri: str, credentials: Credentials = NOBODY) -> Version:
    """The version with this digest, the first one should there be several; or `VersionMissing`."""
    if uri.startswith(SQLITE):
        server, found = None, _in_database(uri, name, digest)
    else:
        server = Server.at(uri, credentials)
        found = server.locate(name, digest)
    if found is None:
        raise VersionMissing(uri, name, digest)
    number, location = found
    try:
        return Version(name, number, uri, _files(location, uri, server))
    except ValueError as error:
        reason = f"it says that the files are at {_short(location)}, which is no address ({error})"
        raise RegistryUnavailable(uri, reason) from None


def exposed(uri: str, credentials: Credentials) -> str | None:
    """Why others could read the credentials on their way to this address; None if they could not."""
    with suppress(ValueError):
        parts = urlsplit(uri)
        given = parts.username, parts.password, credentials.user, credentials.password, credentials.token
        if (
            parts.scheme == "http"
            and any(given)
            and not (credentials.plain_http or _loopback(parts.hostname))
        ):
            return (
                "user, password or token would travel to it as plain text; write https, or set "
                "GOLDFISH_REGISTRY_PLAIN_HTTP=true where nobody else can listen"
            )
    return None


def elsewhere(location: str, uri: str) -> bool:
    """Does the place of a version's files name another host than the registry's own?

    Whoever can write into a registry could otherwise send servers and their credentials anywhere.
    """
    try:
        there, own = urlsplit(location), urlsplit(uri)
        if there.scheme not in ("mlflow-artifacts", *PORTS) or not there.netloc:
            return False
        scheme = there.scheme if there.scheme in PORTS else own.scheme
        return _host(there, scheme) != _host(own, own.scheme) or scheme != own.scheme
    except ValueError:
        return True


def _host(parts: SplitResult, scheme: str) -> tuple[str, int | None]:
    return (parts.hostname or "").rstrip("."), parts.port or PORTS.get(scheme)


def _loopback(host: str | None) -> bool:
    """Is it this very machine? Other ways to write an address than the usual ones are not taken for it."""
    name = (host or "").rstrip(".")
    with suppress(ValueError):
        address = ipaddress.ip_address(name)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    return name == "localhost" or name.endswith(".localhost")


def shown(uri: str) -> str:
    """An address without user and password, also if they hold characters that should have been quoted."""
    return re.sub(r"//.*@", "//", uri, flags=re.DOTALL)


def _in_database(uri: str, name: str, digest: str) -> tuple[int, str] | None:
    """Number and location of a version in MLflow's tables, which are opened for reading only."""
    path = Path(uri.removeprefix(SQLITE).partition("?")[0]).absolute()
    query = """
        SELECT version, COALESCE(storage_location, source)
        FROM model_versions JOIN model_version_tags AS tag USING (workspace, name, version)
        WHERE name = ? AND tag."key" = ? AND tag.value = ? AND current_stage IS NOT ?
        ORDER BY version LIMIT 1
    """
    try:
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", timeout=PATIENCE, uri=True)
        with closing(database):
            row = database.execute(query, (name, DIGEST, digest, DELETED)).fetchone()
    except sqlite3.Error as error:
        raise RegistryUnavailable(uri, f"{error}, in the file {path}") from None
    return (int(row[0]), str(row[1])) if row else None


def _files(location: str, uri: str, server: "Server | None") -> Fetch:
    """How the files of a version are read that MLflow has put there."""
    scheme = re.match(r"[a-z][a-z0-9+.-]+:", location)
    if scheme is None or scheme[0] == "file:":
        folder = Path(unquote(urlsplit(location).path) if scheme else location)
        # Of a name that no folder can have, Path.is_dir makes an error.
        if os.path.isdir(folder):  # noqa: PTH112
            return partial(_from_folder, folder)
        where = f"in {_short(str(folder))}, a folder that is not on this machine (if the project was moved, "
        where += "`python -m pipeline repair` mends that)"
    elif scheme[0] == "mlflow-artifacts:" and server is not None:
        return server.files(location)
    else:
        where = f"at {_short(location)}, which is not read from here"
    advice = "`mlflow server --serve-artifacts` hands out the files of what is registered through it"
    raise RegistryUnavailable(uri, f"the files of the version are {where}; {advice}")


def _from_folder(folder: Path, name: str, limit: int, tick: Tick) -> bytes | None:
    path = folder / name
    if not path.is_file():
        return None
    with path.open("rb") as file:
        data = file.read(limit + 1)
    tick(len(data))
    return data


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Nothing is followed: the next address might be another host's, and get the password."""

    def redirect_request(self, *_: object) -> None:
        return None


@dataclass(frozen=True)
class Server:
    """An MLflow server. `base` is its address without user and password."""

    uri: str = field(repr=False)
    base: str
    authorization: str = field(repr=False)
    opener: urllib.request.OpenerDirector = field(repr=False)

    @classmethod
    def at(cls, uri: str, credentials: Credentials) -> Self:
        """Reads an address; nothing is connected yet."""
        parts = _address(uri)
        if reason := exposed(uri, credentials):
            raise RegistryUnavailable(uri, reason)
        host = parts.netloc.rpartition("@")[2]
        context = ssl.create_default_context()
        if credentials.insecure_tls:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return cls(
            uri,
            f"{parts.scheme}://{host}{quote(parts.path.rstrip('/'), safe='/%')}",
            _authorization(uri, parts, credentials),
            urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context)),
        )

    def locate(self, name: str, digest: str) -> tuple[int, str] | None:
        """Number and location of the version with this digest."""
        wanted, numbers, token = f"name = '{name}' and tags.`{DIGEST}` = '{digest}'", list[int](), ""
        with self._understood():
            for _ in range(PAGES):
                page = self._ask("model-versions/search", filter=wanted, max_results=PAGE, page_token=token)
                numbers += [int(entry["version"]) for entry in page.get("model_versions", [])]
                if not (token := page.get("next_page_token", "")):
                    break
            if not numbers:
                return None
            first = min(numbers)
            found = self._ask("model-versions/get-download-uri", name=name, version=first)
            return first, str(found["artifact_uri"])

    def files(self, location: str) -> Fetch:
        """How the files at `mlflow-artifacts:/path` or `mlflow-artifacts://<own host>/path` are read."""
        if elsewhere(location, self.base):
            reason = f"the files of the version are at {_short(location)}, another host, which is not asked"
            raise RegistryUnavailable(self.uri, f"{reason}; register it through this registry's own address")
        root = f"{self.base}{FILES}/{quote(urlsplit(location).path.strip('/'), safe='/%')}"
        return lambda name, limit, tick: self.get(f"{root}/{quote(name)}", limit, tick)

    def get(self, url: str, limit: int, tick: Tick) -> bytes | None:
        """The body at a URL, at most `limit` bytes and one more; None if there is nothing."""
        for pause in PAUSES:
            with suppress(*BROKEN):
                return self._try(url, limit, tick)
            time.sleep(pause)
        try:
            return self._try(url, limit, tick)
        except BROKEN as error:
            cause = error.reason if isinstance(error, URLError) else error
            reason = f"{str(cause) or type(cause).__name__}, {len(PAUSES) + 1} times"
            raise RegistryUnavailable(self.uri, reason) from None

    def _try(self, url: str, limit: int, tick: Tick) -> bytes | None:
        request = urllib.request.Request(url)  # noqa: S310  (`_address` has seen its scheme)
        if self.authorization:
            request.add_header("Authorization", self.authorization)
        try:
            with self.opener.open(request, timeout=PATIENCE) as response:
                return _body(response, limit, tick)
        except HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise self._refusal(error) from None

    def _refusal(self, error: HTTPError) -> Exception:
        """Tells what may soon be answered otherwise from what will not."""
        body = _body(cast(HTTPResponse, error.fp), REFUSAL_BYTES, _ignore)
        reason = f"it answers {error.code}: {_message(body) or error.reason}"
        if error.code in AGAIN:
            return ConnectionError(reason)
        if target := error.headers.get("Location", ""):
            reason += f", and redirects to {shown(target.partition('?')[0])}, which is not followed"
        if error.code in (401, 403):
            reason += "; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or _TOKEN, say who asks"
        return RegistryUnavailable(self.uri, reason)

    def _ask(self, route: str, **query: str | int) -> Any:  # noqa: ANN401  (the caller checks its shape)
        answer = self.get(f"{self.base}{API}/{route}?{urlencode(query)}", ANSWER_BYTES, _ignore)
        if answer is None:
            raise RegistryUnavailable(self.uri, f"it answers 404 to {API}/{route}, which MLflow has")
        return json.loads(answer)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Whatever else answers there, a login page or a stranger, does it otherwise."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"its answer is not MLflow's ({type(error).__name__}: {error})"
            raise RegistryUnavailable(self.uri, reason) from None


def _address(uri: str) -> SplitResult:
    """The parts of a server's address; what cannot be one may hold a password in any of its parts."""
    with suppress(ValueError):
        parts = urlsplit(uri)
        plain = not parts.query and not parts.fragment and "@" not in parts.path
        # Reading the port checks it.
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and plain:
            return parts
    advice = "write sqlite:///path or http(s)://[user:password@]host[:port][/prefix]"
    raise RegistryUnavailable(uri, f"{advice}, with %XX for signs like / and @ in a password")


def _authorization(uri: str, parts: SplitResult, credentials: Credentials) -> str:
    """The header's value, "" for nobody. A user in the address comes first, as with MLflow's client."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user:
        user, password = credentials.user, credentials.password
    if user:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    token = credentials.token.strip()
    # http.client's own error would quote it.
    if not (token.isascii() and token.isprintable()):
        raise RegistryUnavailable(uri, "the token holds signs that no token can have")
    return f"Bearer {token}" if token else ""


def _body(response: HTTPResponse, limit: int, tick: Tick) -> bytes:
    """Reads until the end or one byte beyond the limit, whatever the server would go on to send."""
    announced, data = response.length, bytearray()
    wanted = limit + 1 if announced is None else min(announced, limit + 1)
    deadline = time.monotonic() + PATIENCE + limit / SLOWEST
    while len(data) < wanted and (chunk := response.read1(min(CHUNK, wanted - len(data)))):
        data += chunk
        tick(len(data))
        # Each byte may have come in time, and all of them would take for ever.
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(data):,} bytes came in {PATIENCE + limit / SLOWEST:.0f} seconds")
    if announced is not None and len(data) < wanted:
        raise ConnectionError(f"{len(data):,} bytes came of {announced:,}")
    return bytes(data)


def _message(body: bytes) -> str:
    """What a server says with a refusal: MLflow's message, or the beginning of whatever it is."""
    words = body.decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):
        words = str(json.loads(words)["message"])
    return words.strip()[:200].rstrip(".")


def _short(location: str) -> str:
    """A location without user and password, and not longer than a sentence bears."""
    text = shown(location)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _printable(text: str) -> str:
    """On one line, and without what would move a terminal's cursor."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _ignore(_: int) -> None:
    """Nobody asked how many bytes have come."""
