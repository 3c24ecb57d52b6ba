"""Who may ask, and how often: API keys and a rate limit, each off until a setting turns it on."""

import hashlib
import hmac
import math
import time

from flask import Request
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from serving.api.errors import KeyMissing, KeyUnknown, RateLimited
from serving.client import client_of
from serving.config import SettingsInvalid, variable


class Access:
    """Checks a request before anything of it is read. `keys` are SHA-256 digests in hexadecimal.

    A plain SHA-256 is right for keys: they are random and long, unlike passwords.
    """

    def __init__(self, keys: tuple[str, ...], rate_limit: str) -> None:
        self._keys = [bytes.fromhex(key) for key in keys]
        self._shown = rate_limit
        self._limits = _parse(rate_limit) if rate_limit else []
        # The store starts a thread that forgets old clients, so there is none without a limit.
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage()) if rate_limit else None

    @property
    def wants_key(self) -> bool:
        return bool(self._keys)

    def check(self, request: Request) -> str:
        """The client: its key where keys are set, otherwise its address.

        Raises `KeyMissing`, `KeyUnknown` or `RateLimited`.
        """
        client = client_of(request.remote_addr)
        if self._keys:
            try:
                client = self._authenticate(request)
            except (KeyMissing, KeyUnknown):
                # Who guesses keys is counted too, by address.
                self._count(client)
                raise
        self._count(client)
        return client

    def _count(self, client: str) -> None:
        for limit in self._limits:
            if self._limiter and not self._limiter.hit(limit, client):
                reset = self._limiter.get_window_stats(limit, client).reset_time
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


def _parse(text: str) -> list[RateLimitItem]:
    try:
        limits = parse_many(text)
    except ValueError:
        limits = []
    if not limits or any(limit.amount < 1 for limit in limits):
        name = variable("rate_limit")
        raise SettingsInvalid([f'{name} is {text!r}: write it like "60/minute" or "5/second; 1000/day"'])
    return limits
