"""The server's settings. They come from environment variables alone, and only this file reads them.

A variable is `GOLDFISH_` and the field's name in capitals, except for the established names in `NAMES`. With
the suffix `_FILE` it holds the path of a file that contains the value. An unknown `GOLDFISH_` variable stops
the server, because a mistyped limit would otherwise be ignored.
"""

import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from serving.api.key_file import KeyFileInvalid, read_key_file
from serving.artifact.registry.address import Credentials
from serving.artifact.trusted_keys import read_trusted_keys
from serving.errors import ServingError
from serving.trial.defaults import AGREEMENT_FLOOR, MAX_SLOWDOWN

PREFIX = "GOLDFISH_"
# Names that PaaS platforms, Vertex AI, MLflow and OpenTelemetry have established.
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
    "otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "otlp_traces_endpoint": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "otlp_protocol": "OTEL_EXPORTER_OTLP_PROTOCOL",
    "otlp_traces_protocol": "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "traces_exporter": "OTEL_TRACES_EXPORTER",
    "otel_disabled": "OTEL_SDK_DISABLED",
    "span_batch": "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
}
# Fields with several values, separated by commas.
LIST_FIELDS = {"api_keys", "candidates", "cors_origins", "follow", "models", "trusted_keys"}
# What follows a model's name in the name under which it takes pixels.
TENSOR_SUFFIX = "_tensor"
# Kubernetes sets such variables in every container beside a service that is called "goldfish".
KUBERNETES_VARIABLE = re.compile(
    r"GOLDFISH_(.+_)?(SERVICE_(HOST|PORT)(_.+)?=.*|PORT(_\d+_(TCP|UDP)(_.+)?=.*|=\w+://.*))"
)

# The name of a model, which is a folder's name and a part of a path.
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}\Z")]
# A model, and the alias of the registry that it follows.
Followed = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}@[A-Za-z0-9_-]{1,255}\Z")]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
# The path of a URL, without the characters of a Flask URL pattern.
Route = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~:/-]{0,255})?\Z")]
# A path prefix as a reverse proxy uses it: no slash at its end, no `.` or `..` segments.
Prefix = Annotated[str, Meta(pattern=r"^(/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]{1,64}){0,8}\Z")]
# The origin of a page as browsers send it: in lower case, without the scheme's default port.
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
DEFAULT_PORT = re.compile(r"http://.*:80|https://.*:443")
# A URL of a collector. A user and password belong into OTEL_EXPORTER_OTLP_HEADERS, which no message quotes.
CollectorUrl = Annotated[str, Meta(pattern=r"^(https?://[A-Za-z0-9._:\[\]-]+(/[!-~]*)?)?\Z")]
# The only protocol that requirements/otel.txt has an exporter for, and where spans go below the base URL.
OTLP_PROTOCOL, TRACES_PATH = "http/protobuf", "/v1/traces"
Hash = Annotated[str, Meta(description="SHA-256", pattern=r"^[0-9a-f]{64}\Z")]


class SettingsInvalid(ServingError):
    """The environment has unknown variables or invalid values."""

    code = "settings_invalid"

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("The environment cannot be used: " + "; ".join(reasons) + ".")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, with their defaults and the reasons for them."""

    # What is served: one model, or several, of which the first answers requests that name none. `bundle`
    # names a folder to serve; it must have the pinned digest. By default the bundles come from the workspace
    # (`models_folder`) or from the registry.
    model: Name = "digits"
    models: tuple[Name, ...] = ()
    bundle: Path | None = None
    pins: Path = Path("pins")
    models_folder: Path = Path("models")
    reports: Path = Path("reports")
    pin_commit: Annotated[str, Meta(pattern=r"^([0-9a-f]{40})?\Z")] = ""

    # The registry from which the pinned version is pulled if the workspace has another one.
    registry: str = "sqlite:///mlflow.db"
    registry_user: str = ""
    registry_password: str = ""
    registry_token: str = ""
    registry_insecure_tls: bool = False
    # Allows credentials over plain HTTP. Off, because anyone on the network path can read them.
    registry_plain_http: bool = False

    # PEM files of public keys. With them, a bundle is served, pulled or built into an image only if one of
    # the keys has signed it.
    trusted_keys: tuple[Path, ...] = ()

    # A changed pin is noticed within a second. Versions with other labels are refused, because clients rely
    # on them. The version before stays loaded for `bake` seconds, so that the way back to it takes no time.
    allow_new_labels: bool = False
    bake: Annotated[float, Meta(ge=0, le=86400)] = 600.0
    # Aliases of the registry to follow instead of pins, such as "digits@champion". Off, because whoever can
    # write to the registry can move them; they may lead only to digests that the pin allows or a trusted key
    # has signed. The registry is asked every `poll` seconds.
    follow: tuple[Followed, ...] = ()
    poll: Annotated[float, Meta(ge=1, le=86400)] = 30.0
    # With `shadow` or `canary` a new version is first on trial (docs/trials.md). It also classifies this
    # share of the images, after the client has its answer; and it answers this share of the clients.
    shadow: Annotated[float, Meta(ge=0, le=1)] = 0.0
    canary: Annotated[float, Meta(ge=0, le=1)] = 0.0
    # It becomes active if it agrees with the active version significantly more often than `agreement`. It
    # is refused if that is less often, or if it takes more than `max_slowdown` times as long.
    agreement: Annotated[float, Meta(ge=0.01, le=0.999)] = AGREEMENT_FLOOR
    max_slowdown: Annotated[float, Meta(gt=0, le=1000)] = MAX_SLOWDOWN
    # Aliases whose versions are on trial until the pin, or the alias that is followed, leads to them, such as
    # "digits@challenger". Other new versions become active without a trial then.
    candidates: tuple[Followed, ...] = ()

    # The address to listen at: loopback, so that a server on a laptop is not reachable from the network. The
    # container image sets 0.0.0.0.
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 5000
    # Set by Vertex AI in its containers. Its port (0: not set) takes precedence over PORT, which the image
    # always sets.
    aip_http_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    aip_health_route: Route = ""
    aip_predict_route: Route = ""

    # Worker processes; 0: as many as keep all cores busy (serving/workers/worker_plan.py). They share slots,
    # queue and limits. Each takes some ten megabytes and its own copy of the model.
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    # Images processed at the same time; 0: one per core of the control group's CPU quota.
    slots: Annotated[int, Meta(ge=0, le=256)] = 0
    # Requests that may wait for a slot: at 10 ms each and two slots, the last one waits 0.16 s.
    queue: Annotated[int, Meta(ge=0, le=1000)] = 32
    # Requests whose body may be received at the same time. Each holds a thread as long as that takes.
    uploads: Annotated[int, Meta(ge=1, le=1000)] = 32
    # Time limit of a request, from its body to its response.
    deadline: Seconds = 10.0
    # Time limits for receiving the head and the body of a request.
    head_seconds: Seconds = 10.0
    body_seconds: Seconds = 30.0
    # Seconds before an idle connection is closed. Behind a load balancer, set it above its idle timeout.
    keepalive: Annotated[int, Meta(ge=1, le=3600)] = 5
    # Seconds between readiness turning false and refusing connections; `docker stop` kills after 10 s.
    drain: Annotated[float, Meta(ge=0, le=3600)] = 5.0
    # Seconds that requests in flight have after that.
    grace: Annotated[int, Meta(ge=1, le=3600)] = 30

    # Largest request body: a photo of 20 MiB, or several small ones, and the multipart overhead.
    max_body_mb: Annotated[int, Meta(ge=1, le=1024)] = 24
    # Memory budget for all request bodies together.
    bodies_mb: Annotated[int, Meta(ge=1, le=65536)] = 256
    # Whether /explain answers. An explanation of a model without class activation maps takes 50 predictions.
    explain: bool = True
    # Probability below which /predict says that it abstains; 0: never. The model card has a table of what
    # would be withheld, and how accurate the rest is.
    abstain_below: Annotated[float, Meta(ge=0, le=1)] = 0.0
    # Memory for answers to images that are sent again, in all workers together; 0: none are kept.
    cache_mb: Annotated[int, Meta(ge=0, le=65536)] = 0
    # Images per request.
    max_images: Annotated[int, Meta(ge=1, le=1024)] = 16

    # Access control, off by default: a rate such as "60/minute", and SHA-256 digests of API keys.
    rate_limit: str = ""
    api_keys: tuple[Hash, ...] = ()
    # A key file (serving/api/key_file.py) replaces `api_keys` and is reloaded while the server runs.
    api_keys_file: Path | None = None
    # Number of trusted reverse proxies in front. If it is too high, clients can forge their address.
    proxy_hops: Annotated[int, Meta(ge=0, le=10)] = 0
    # Path prefix under which a reverse proxy serves all routes. They stay reachable without it too, for
    # proxies that strip it and for health checks.
    prefix: Prefix = ""
    # Origins whose pages may call the API from a browser (CORS); "*": all. By default only the server's own.
    cors_origins: tuple[str, ...] = ()
    # A separate port for /metrics, so that no proxy has to hide it from the public. 0: no separate port.
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    # Predictions are counted per class up to this number of classes; each class is a Prometheus series.
    metrics_classes: Annotated[int, Meta(ge=0, le=10_000)] = 50

    # Export of a span of each request to an OpenTelemetry collector, off by default: the base URL of the
    # collector, or that for spans alone. The library itself reads its other variables (sampler, headers,
    # queue, resource).
    otlp_endpoint: CollectorUrl = ""
    otlp_traces_endpoint: CollectorUrl = ""
    # Empty: http/protobuf. Platforms may set gRPC for all programs, which is an error only with an endpoint.
    otlp_protocol: str = ""
    otlp_traces_protocol: str = ""
    # They turn the export off where a platform sets the endpoint for all programs.
    traces_exporter: Annotated[str, Meta(pattern=r"^(otlp|none)\Z")] = "otlp"
    otel_disabled: Annotated[str, Meta(pattern=r"^(?i:true|false)\Z")] = "false"
    # Spans that are sent at once. With the library's default of 512 the thread that encodes them keeps the
    # others from the GIL for so long that the 99th percentile of a busy core's requests was 25 ms, not 18.
    span_batch: Annotated[int, Meta(ge=1, le=65536)] = 128

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ, only: Iterable[str] = ()) -> Self:
        """Parses an environment. Raises `SettingsInvalid`, which lists all errors.

        `only`: the fields to read, for callers that must not fail because of the others.
        """
        known = {field.name: field for field in msgspec.structs.fields(cls)}
        fields = {variable(name): known[name] for name in only or known}
        environment, reasons = _read_file_variables(environment, fields)
        reasons += [] if only else _unknown_variables(environment, fields)
        values: dict[str, Any] = {}
        for name in sorted(fields.keys() & environment.keys()):
            try:
                if (value := _split_value(fields[name].name, environment[name])) is not None:
                    values[fields[name].name] = msgspec.convert(
                        value, fields[name].type, strict=False, dec_hook=_decode_path
                    )
            except ValueError as error:
                # The value is not quoted where it may be a secret in the wrong variable.
                quoted = "" if fields[name].name == "api_keys" else f" is {environment[name]!r}"
                reasons.append(f"{name}{quoted}: {error}")
        if file := values.get("api_keys_file"):
            values["api_keys"], errors = _read_key_digests(file)
            reasons += errors
        if port := values.get("aip_http_port"):
            values["port"] = port
        reasons += _check_trusted_keys(values.get("trusted_keys", ()))
        if reasons:
            raise SettingsInvalid(reasons)
        settings = cls(**values)
        if contradictions := [*_contradictions(settings), *_check_span_export(settings)]:
            raise SettingsInvalid(contradictions)
        return settings

    @property
    def names(self) -> tuple[str, ...]:
        """The served models; the first one is the default."""
        return self.models or (self.model,)

    @property
    def address(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        return self.address_at(self.port)

    @property
    def ports(self) -> list[int]:
        """All ports at which the server listens."""
        return [self.port, self.metrics_port] if self.metrics_port else [self.port]

    def address_at(self, port: int) -> str:
        """The same for another port."""
        host = self.host.strip("[]")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def credentials(self) -> Credentials:
        """Credentials for the registry."""
        return Credentials(
            self.registry_user,
            self.registry_password,
            self.registry_token,
            self.registry_insecure_tls,
            self.registry_plain_http,
        )

    @property
    def traces_url(self) -> str:
        """Where spans are sent; empty if they are not."""
        if self.traces_exporter == "none" or self.otel_disabled.lower() == "true":
            return ""
        base = self.otlp_endpoint.rstrip("/")
        return self.otlp_traces_endpoint or (base and base + TRACES_PATH)

    @property
    def max_body_bytes(self) -> int:
        """`max_body_mb` in bytes."""
        return self.max_body_mb * 2**20

    @property
    def cache_bytes(self) -> int:
        """`cache_mb` in bytes."""
        return self.cache_mb * 2**20

    @property
    def body_budget_bytes(self) -> int:
        """`bodies_mb` in bytes."""
        return self.bodies_mb * 2**20


def variable(field: str) -> str:
    """The environment variable that sets a field."""
    return NAMES.get(field, PREFIX + field.upper())


def _unknown_variables(environment: Mapping[str, str], known: Container[str]) -> list[str]:
    """Errors for variables with this server's prefix that are no settings."""
    return [
        f"there is no {name}"
        for name, text in sorted(environment.items())
        if name not in known
        and name.startswith(PREFIX)
        and not KUBERNETES_VARIABLE.fullmatch(f"{name}={text}")
    ]


def _split_value(field: str, text: str) -> str | list[str] | None:
    """The text of a variable, split for a list field; None if it is empty, which means "not set"."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if field == "api_keys" and not parts:
        raise ValueError("it holds no key: without the variable anyone may send requests")
    if field == "api_keys_file" and not parts:
        raise ValueError("it names no file: without the variable anyone may send requests")
    if field == "trusted_keys" and not parts:
        raise ValueError("it names no file: without the variable no signature is required")
    if field == "cors_origins":
        _check_origins(parts)
    return parts if field in LIST_FIELDS else text if text.strip() else None


def _contradictions(settings: Settings) -> Iterator[str]:
    """Errors in settings that are valid one by one."""
    if 0 != settings.metrics_port == settings.port:
        yield f"{variable('metrics_port')} is the port of all other routes"
    models = settings.models
    if len(set(models)) < len(models):
        yield f"{variable('models')} is {','.join(models)!r} and names a model twice"
    for name in models:
        if name + TENSOR_SUFFIX in models:
            yield f"{variable('models')}: {name + TENSOR_SUFFIX} is the name of {name} for tensors"
    if len(models) > 1 and settings.bundle:
        yield f"{variable('bundle')} is one folder, and {variable('models')} names {len(models)} models"
    if settings.bundle and (settings.follow or settings.candidates):
        yield f"{variable('bundle')} is one folder, which cannot follow an alias"
    for field, followed in (("follow", settings.follow), ("candidates", settings.candidates)):
        names = [entry.partition("@")[0] for entry in followed]
        if len(set(names)) < len(names) or not set(names) <= set(settings.names):
            reason = f"it must name served models ({', '.join(settings.names)}), each once"
            yield f"{variable(field)} is {','.join(followed)!r}: {reason}"
    if settings.candidates and not (settings.shadow or settings.canary):
        needed = f"{variable('shadow')} or {variable('canary')}"
        yield f"{variable('candidates')} is {','.join(settings.candidates)!r}, and needs {needed}"


def _check_trusted_keys(files: Iterable[Path]) -> list[str]:
    """Errors of files that hold no trusted keys, or of a missing package that could read them."""
    reasons = []
    for file in files:
        try:
            read_trusted_keys([file])
        except ServingError as error:
            reasons.append(f"{variable('trusted_keys')} has {str(file)!r}: {str(error).rstrip('.')}")
    return reasons


def _check_span_export(settings: Settings) -> Iterator[str]:
    """Errors of an export in another protocol, or without the packages for it.

    Imports them here, in the master process, so that the workers share their memory.
    """
    if not settings.traces_url:
        return
    field = "otlp_traces_protocol" if settings.otlp_traces_protocol else "otlp_protocol"
    if (protocol := getattr(settings, field) or OTLP_PROTOCOL) != OTLP_PROTOCOL:
        yield f"{variable(field)} is {protocol!r}, and spans are sent by {OTLP_PROTOCOL} (port 4318) only"
    try:
        import_module("serving.api.span_export")
    except ImportError as error:
        field = "otlp_traces_endpoint" if settings.otlp_traces_endpoint else "otlp_endpoint"
        yield (
            f"{variable(field)} is set, and spans cannot be sent without the packages of the extra `otel` "
            f"({error}): `python -m pip install --require-hashes -r requirements/otel.txt` installs them"
        )


def _check_origins(origins: list[str]) -> None:
    """Raises `ValueError` for an origin that no browser sends, because it would match no request."""
    for origin in origins:
        if origin == "*" and len(origins) > 1:
            raise ValueError("with * there is nothing else to allow")
        if origin != "*" and (not ORIGIN.fullmatch(origin) or DEFAULT_PORT.fullmatch(origin)):
            raise ValueError(
                f"{origin!r} is no origin: write https://app.example or http://localhost:3000, in lower "
                "case, without a path, a slash at the end or the default port"
            )


def _read_key_digests(file: Path) -> tuple[tuple[str, ...], list[str]]:
    """The digests in a key file, and errors."""
    where = f"{variable('api_keys_file')} is {str(file)!r}"
    try:
        return tuple(key.digest for key in read_key_file(file)), []
    except OSError:
        return (), [f"{where}, which cannot be read"]
    except KeyFileInvalid as error:
        return (), [f"{where}: {error}"]


def _read_file_variables(
    environment: Mapping[str, str], known: Iterable[str]
) -> tuple[dict[str, str], list[str]]:
    """Replaces `<variable>_FILE` by the file's content, for mounted secrets. Returns the errors too."""
    resolved, reasons = dict(environment), []
    # GOLDFISH_API_KEYS_FILE is a setting of its own: the file is reloaded, and replaces GOLDFISH_API_KEYS.
    if (keys_file := variable("api_keys_file")) in resolved:
        resolved.pop(variable("api_keys"), None)
    for name in known:
        if f"{name}_FILE" != keys_file and (file := resolved.pop(f"{name}_FILE", None)):
            try:
                resolved[name] = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, ValueError):
                reasons.append(f"{name}_FILE is {file!r}, which cannot be read")
    return resolved, reasons


def _decode_path(kind: type, text: object) -> Path:
    """Converts to Path, the only field type that msgspec does not support."""
    if kind is not Path:
        raise NotImplementedError(kind)
    return Path(str(text))
