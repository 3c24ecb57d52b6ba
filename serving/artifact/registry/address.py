"""Addresses of registries, and the rules for where credentials may be sent."""

import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

SQLITE = "sqlite:///"
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Credentials:
    """A user with a password, or else a token. A user in the registry's address takes precedence."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    # Accept any TLS certificate.
    insecure_tls: bool = False
    # Allow sending them over unencrypted HTTP.
    plain_http: bool = False


NO_CREDENTIALS = Credentials()


def without_credentials(uri: str) -> str:
    """An address without user and password, even if these hold characters that should have been quoted."""
    return re.sub(r"//.*@", "//", uri, flags=re.DOTALL)


def plaintext_exposure(uri: str, credentials: Credentials) -> str | None:
    """Why others could read the credentials on their way to this address; None if they could not."""
    with suppress(ValueError):
        parts = urlsplit(uri)
        secrets = parts.username, parts.password, credentials.user, credentials.password, credentials.token
        allowed = credentials.plain_http or _is_loopback(parts.hostname)
        if parts.scheme == "http" and any(secrets) and not allowed:
            return (
                "user, password or token would travel to it as plain text; write https, or set "
                "GOLDFISH_REGISTRY_PLAIN_HTTP=true where nobody else can listen"
            )
    return None


def is_other_host(location: str, uri: str) -> bool:
    """Is the location of a version's files on another host than the registry itself?

    Anyone who can write to a registry could otherwise send servers and their credentials to any host.
    """
    try:
        files, registry = urlsplit(location), urlsplit(uri)
        if files.scheme not in ("mlflow-artifacts", *DEFAULT_PORTS) or not files.netloc:
            return False
        scheme = files.scheme if files.scheme in DEFAULT_PORTS else registry.scheme
        same_host = _host_and_port(files, scheme) == _host_and_port(registry, registry.scheme)
        return not same_host or scheme != registry.scheme
    except ValueError:
        return True


def _host_and_port(parts: SplitResult, scheme: str) -> tuple[str, int | None]:
    return (parts.hostname or "").rstrip("."), parts.port or DEFAULT_PORTS.get(scheme)


def _is_loopback(host: str | None) -> bool:
    """Does the host name this machine? Only the usual notations count, not 127.1 or 0x7f000001."""
    name = (host or "").rstrip(".")
    with suppress(ValueError):
        address = ipaddress.ip_address(name)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    return name == "localhost" or name.endswith(".localhost")
