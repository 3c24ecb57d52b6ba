"""Who may ask, and how often: API keys and a rate limit, each off until a setting turns it on."""

import hashlib
import hmac
import ipaddress
import math
import time

from flask import Request
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from serving.api.errors import KeyMissing, KeyUnknown, RateLimited
from serving.config import SettingsInvalid, variable

# An IPv6 customer usually has this much of the address; a limit for each single one would be none.
IPV6_PREFIX = 64


class Access:
    """Checks a request before anything of it is read. `keys` are SHA-256 digests in hexadecimal.

    A plain SHA-256 is right for keys: they are random and long, unlike passwords.
    """

    def __init__(self, keys: tuple[str, ...], rate_limit: str) -> None:
        self._keys = [bytes.fromhex(key) for key in keys]
        self._limit = _parse(rate_limit) if rate_limit else None
        self._shown = rate_limit
        # The store starts a thread that forgets old clients, so there is none without a limit.
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage()) if rate_limit else None

    @property
    def wants_key(self) -> bool:
        return bool(self._keys)

    def check(self, request: Request) -> None:
        """Raises `KeyMissing`, `KeyUnknown` or `RateLimited`."""
        client = self._authenticate(request) if self._keys else _address(request.remote_addr)
        if self._limit is None or self._limiter is None:
            return
        if not self._limiter.hit(self._limit, client):
            reset = self._limiter.get_window_stats(self._limit, client).reset_time
            raise RateLimited(self._shown, max(1, math.ceil(reset - time.time())))

    def _authenticate(self, request: Request) -> str:
        given = request.headers.get("X-API-Key") or _bearer(request.headers.get("Authorization", ""))
        if not given:
            raise KeyMissing
        digest = hashlib.sha256(given.encode()).digest()
        # All of them are compared, so that the time does not tell which one it was.
        matches = [hmac.compare_digest(digest, key) for key in self._keys]
        if not any(matches):
            raise KeyUnknown
        return digest.hex()


def _bearer(header: str) -> str:
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _address(text: str | None) -> str:
    """What one client has: an IPv4 address, or the network of an IPv6 one."""
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


def _parse(text: str) -> RateLimitItem:
    try:
        return parse(text)
    except ValueError:
        name = variable("rate_limit")
        raise SettingsInvalid([f'{name} is {text!r}: write it like "60/minute" or "5/second"']) from None
