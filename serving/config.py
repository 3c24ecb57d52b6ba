"""What the server can be told, all of it by environment variables: the one file that reads them.

A variable is `GOLDFISH_` and the field's name in capitals, except for those in `NAMES`, which others have
named before; with `_FILE` behind its name it tells in which file the value stands. An unknown one stops the
server, because a mistyped limit would be no limit.
"""

import os
import re
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from serving.api.key_file import KeyFileInvalid, read_key_file
from serving.artifact.registry import Credentials
from serving.errors import ServingError

PREFIX = "GOLDFISH_"
NAMES = {
    "port": "PORT",
    "aip_http_port": "AIP_HTTP_PORT",
    "aip_health_route": "AIP_HEALTH_ROUTE",
    "aip_predict_route": "AIP_PREDICT_ROUTE",
    "registry": "MLFLOW_TRACKING_URI",
    "registry_user": "MLFLOW_TRACKING_USERNAME",
    "registry_password": "MLFLOW_TRACKING_PASSWORD",
    "registry_token": "MLFLOW_TRACKING_TOKEN",
    "registry_insecure_tls": "MLFLOW_TRACKING_INSECURE_TLS",
}
# Fields that hold several values, with commas between them.
LISTS = {"api_keys", "cors_origins"}
# Kubernetes adds such variables to every container beside a service that is called "goldfish".
KUBERNETES = re.compile(
    r"GOLDFISH_(.+_)?(SERVICE_(HOST|PORT)(_.+)?=.*|PORT(_\d+_(TCP|UDP)(_.+)?=.*|=\w+://.*))"
)

Seconds = Annotated[float, Meta(gt=0, le=3600)]
# Of a URL, without what would make a pattern of it for Flask.
Route = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~:/-]{0,255})?\Z")]
# As a proxy has it before the paths of this server: no slash at its end, no dots that would lead elsewhere.
Prefix = Annotated[str, Meta(pattern=r"^(/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]{1,64}){0,8}\Z")]
# As a browser writes the origin of a page: in small letters, without the port that the scheme has anyway.
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
USUAL_PORT = re.compile(r"http://.*:80|https://.*:443")
Hash = Annotated[str, Meta(description="SHA-256", pattern=r"^[0-9a-f]{64}\Z")]


class SettingsInvalid(ServingError):
    """The environment asks for what the server does not know or cannot do."""

    code = "settings_invalid"

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("The environment cannot be used: " + "; ".join(reasons) + ".")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that can be set, with what holds otherwise and why."""

    # What is served. A folder here is served as it is, if it has the pinned digest; otherwise the bundle of
    # the workspace or of the registry.
    model: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}\Z")] = "digits"
    bundle: Path | None = None
    pins: Path = Path("pins")
    models: Path = Path("models")
    reports: Path = Path("reports")
    pin_commit: Annotated[str, Meta(pattern=r"^([0-9a-f]{40})?\Z")] = ""

    # Where the pinned version is pulled from when the workspace has another one.
    registry: str = "sqlite:///mlflow.db"
    registry_user: str = ""
    registry_password: str = ""
    registry_token: str = ""
    registry_insecure_tls: bool = False
    # Off, because everybody between a server and its registry can read what travels by http.
    registry_plain_http: bool = False

    # Whoever starts a server on a laptop does not mean to show it to the network; the image says 0.0.0.0.
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 5000
    # What Vertex AI tells a container. It alone sets them, so its port (0: none) goes before another one,
    # which the image always has.
    aip_http_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    aip_health_route: Route = ""
    aip_predict_route: Route = ""

    # Images in work at once; 0 means one for each core that the control group grants.
    slots: Annotated[int, Meta(ge=0, le=256)] = 0
    # Requests that may wait for a slot: at 10 ms each and two slots, the last one waits 0.16 s.
    queue: Annotated[int, Meta(ge=0, le=1000)] = 32
    # Requests that may be sending their body at once. A slow network holds a thread that long.
    uploads: Annotated[int, Meta(ge=1, le=1000)] = 32
    # How long a request may take from its body to its answer.
    deadline: Seconds = 10.0
    # How long a client may take to send the head and the body of a request.
    head_seconds: Seconds = 10.0
    body_seconds: Seconds = 30.0
    # Longer than the idle time of a load balancer in front, if there is one.
    keepalive: Annotated[int, Meta(ge=1, le=3600)] = 5
    # Readiness is false for this long before connections are refused; `docker stop` kills after 10 s.
    drain: Annotated[float, Meta(ge=0, le=3600)] = 5.0
    # How long work in flight has after that.
    grace: Annotated[int, Meta(ge=1, le=3600)] = 30

    # A photo of 20 MiB, or several small ones, and what multipart adds.
    max_body_mb: Annotated[int, Meta(ge=1, le=1024)] = 24
    # All bodies that are held at one moment.
    bodies_mb: Annotated[int, Meta(ge=1, le=65536)] = 256
    max_images: Annotated[int, Meta(ge=1, le=1024)] = 16

    # Off unless set: "60/minute", and SHA-256 digests of keys, with commas between them.
    rate_limit: str = ""
    api_keys: tuple[Hash, ...] = ()
    # What the file of keys says counts, and it is read again while the server runs: serving/api/key_file.py.
    api_keys_file: Path | None = None
    # How many proxies of one's own stand in front. Wrong numbers let clients choose their address.
    proxy_hops: Annotated[int, Meta(ge=0, le=10)] = 0
    # Where all paths begin behind a proxy that gives this server a part of its own. Without it they are there
    # too, for proxies that take it away, and for health checks.
    prefix: Prefix = ""
    # Whose pages may ask from a browser; "*": everybody's. By default nobody's but this server's own.
    cors_origins: tuple[str, ...] = ()
    # Figures are for whoever runs the server; on a port of their own no proxy has to hide them. 0: on none.
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    # Predictions are counted by class up to this number of classes; each is a series in Prometheus.
    metrics_classes: Annotated[int, Meta(ge=0, le=10_000)] = 50

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ, only: Iterable[str] = ()) -> Self:
        """The settings that an environment asks for; `SettingsInvalid` lists all that is wrong with it.

        `only`: fields, for whoever needs no others and shall not fail because of them.
        """
        known = {field.name: field for field in msgspec.structs.fields(cls)}
        fields = {variable(name): known[name] for name in only or known}
        environment, reasons = _with_files(environment, fields)
        reasons += [] if only else _unknown(environment, fields)
        values: dict[str, Any] = {}
        for name in sorted(fields.keys() & environment.keys()):
            try:
                if (value := _given(fields[name].name, environment[name])) is not None:
                    values[fields[name].name] = msgspec.convert(
                        value, fields[name].type, strict=False, dec_hook=_path
                    )
            except ValueError as error:
                # The value is left out where it may be a secret that stands in the wrong place.
                shown = "" if fields[name].name == "api_keys" else f" is {environment[name]!r}"
                reasons.append(f"{name}{shown}: {error}")
        if file := values.get("api_keys_file"):
            values["api_keys"], wrong = _digests(file)
            reasons += wrong
        if port := values.get("aip_http_port"):
            values["port"] = port
        if not reasons and 0 != values.get("metrics_port", 0) == values.get("port", cls.port):
            reasons.append(f"{variable('metrics_port')} is the port that everything else has")
        if reasons:
            raise SettingsInvalid(reasons)
        return cls(**values)

    @property
    def address(self) -> str:
        """Host and port, as a URL has them."""
        return self.at(self.port)

    @property
    def ports(self) -> list[int]:
        """All at which the server listens."""
        return [self.port, self.metrics_port] if self.metrics_port else [self.port]

    def at(self, port: int) -> str:
        """The host with a port."""
        host = self.host.strip("[]")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def credentials(self) -> Credentials:
        """For the registry."""
        return Credentials(
            self.registry_user,
            self.registry_password,
            self.registry_token,
            self.registry_insecure_tls,
            self.registry_plain_http,
        )

    @property
    def max_body(self) -> int:
        """Bytes."""
        return self.max_body_mb * 2**20

    @property
    def bodies(self) -> int:
        """Bytes."""
        return self.bodies_mb * 2**20


def variable(field: str) -> str:
    """The environment variable that sets a field."""
    return NAMES.get(field, PREFIX + field.upper())


def _unknown(environment: Mapping[str, str], known: Container[str]) -> list[str]:
    """What this server alone could mean, and does not know."""
    return [
        f"there is no {name}"
        for name, text in sorted(environment.items())
        if name not in known and name.startswith(PREFIX) and not KUBERNETES.fullmatch(f"{name}={text}")
    ]


def _given(field: str, text: str) -> str | list[str] | None:
    """What a variable says; None if it is empty, as those write who mean "not set"."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if field == "api_keys" and not parts:
        raise ValueError("it holds no key: without it everybody may ask")
    if field == "api_keys_file" and not parts:
        raise ValueError("it names no file: without it everybody may ask")
    if field == "cors_origins":
        _check_origins(parts)
    return parts if field in LISTS else text if text.strip() else None


def _check_origins(origins: list[str]) -> None:
    """Raises `ValueError` for what no browser ever sends, because it would allow nobody."""
    for origin in origins:
        if origin == "*" and len(origins) > 1:
            raise ValueError("with * there is nothing else to allow")
        if origin != "*" and (not ORIGIN.fullmatch(origin) or USUAL_PORT.fullmatch(origin)):
            raise ValueError(
                f"{origin!r} is no origin: write https://app.example or http://localhost:3000, in small "
                "letters, without a path, a slash at the end or the usual port"
            )


def _digests(file: Path) -> tuple[tuple[str, ...], list[str]]:
    """The digests of a file of keys; also what is wrong with it."""
    where = f"{variable('api_keys_file')} is {str(file)!r}"
    try:
        return tuple(key.digest for key in read_key_file(file)), []
    except OSError:
        return (), [f"{where}, which cannot be read"]
    except KeyFileInvalid as error:
        return (), [f"{where}: {error}"]


def _with_files(environment: Mapping[str, str], known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Replaces `<variable>_FILE` by what the file holds, as secrets are mounted; also what went wrong."""
    found, reasons = dict(environment), []
    # That one is read again and again, and counts instead of the keys themselves.
    if (keys_file := variable("api_keys_file")) in found:
        found.pop(variable("api_keys"), None)
    for name in known:
        if f"{name}_FILE" != keys_file and (file := found.pop(f"{name}_FILE", None)):
            try:
                found[name] = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, ValueError):
                reasons.append(f"{name}_FILE is {file!r}, which cannot be read")
    return found, reasons


def _path(kind: type, text: object) -> Path:
    """The one type here that msgspec does not know."""
    if kind is not Path:
        raise NotImplementedError(kind)
    return Path(str(text))
