"""Who may ask, and how often: API keys and a rate limit, each off until a setting turns it on."""

import hashlib
import ipaddress
import math
from collections.abc import Iterator
from pathlib import Path

from flask import Request

from serving import rates
from serving.api.errors import KeyExpired, KeyMissing, KeyUnknown, QuotaExceeded, RateLimited, RequestError
from serving.api.key_store import KeyRing
from serving.api.rate_limit import Counts, RateLimiter
from serving.config import SettingsInvalid, variable
from serving.keys import MOST_KEYS, Key
from serving.rates import Rate
from serving.server.client_address import client_from_address

# Where a request notes the name of the key that it came with.
KEY = "goldfish.key"
# What a network of many customers has, and what a provider has.
WIDER = {4: (24, 16), 6: (48, 32)}


class Access:
    """Checks a request before anything of it is read. `keys` are SHA-256 digests, or stand in a file.

    A plain SHA-256 is right for keys: they are random and long, unlike passwords.
    """

    def __init__(self, keys: tuple[str, ...], rate_limit: str, keys_file: Path | None = None) -> None:
        self._keys = KeyRing(keys, keys_file) if keys or keys_file else None
        self._shown = rate_limit
        self._limits = [Counts(rate) for rate in _parse(rate_limit)] if rate_limit else []
        # Clients with a key are counted apart: strangers, of whom there may be any number, take no place of
        # theirs.
        self._of_keys = [Counts(each.limit, MOST_KEYS) for each in self._limits]
        self._quotas: dict[Rate, Counts] = {}
        self._limiter = RateLimiter()

    @property
    def wants_key(self) -> bool:
        return self._keys is not None

    def check(self, request: Request) -> str:
        """Who asks: a key or an address, of which each has a limit of its own.

        Raises `KeyMissing`, `KeyUnknown`, `KeyExpired`, `QuotaExceeded` or `RateLimited`.
        """
        client = client_from_address(request.remote_addr)
        if not self._keys:
            self._count(self._limits, client)
            return client
        try:
            key = self._authenticate(request, self._keys)
        except RequestError:
            # Who guesses keys is counted too, by address.
            self._count(self._limits, client)
            raise
        client = f"key {key.name}"
        self._count(self._of_keys, client)
        self._use(key)
        return client

    def _count(self, limits: list[Counts], client: str) -> None:
        if limits and (wait := self._limiter.hit(limits, client, networks)):
            raise RateLimited(self._shown, math.ceil(wait))

    def _authenticate(self, request: Request, keys: KeyRing) -> Key:
        given = request.headers.get("X-API-Key") or _bearer(request.headers.get("Authorization", ""))
        if not given:
            raise KeyMissing
        key = keys.find(hashlib.sha256(given.encode()).hexdigest())
        if not key:
            raise KeyUnknown
        request.environ[KEY] = key.name
        if keys.is_over(key):
            raise KeyExpired(key.name)
        return key

    def _use(self, key: Key) -> None:
        if key.quota:
            counts = self._quotas.setdefault(key.quota, Counts(key.quota, MOST_KEYS))
            if wait := self._limiter.hit([counts], key.name):
                raise QuotaExceeded(str(key.quota), math.ceil(wait))


def _bearer(header: str) -> str:
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def networks(client: str) -> Iterator[str]:
    """The networks in which an address is, the narrowest first; none if it is no address."""
    try:
        network = ipaddress.ip_network(client)
    except ValueError:
        return
    for prefix in WIDER[network.version]:
        yield str(network.supernet(new_prefix=prefix))


def _parse(text: str) -> list[Rate]:
    try:
        return rates.parse_rates(text)
    except ValueError:
        name = variable("rate_limit")
        raise SettingsInvalid(
            [f'{name} is {text!r}: write it like "60/minute" or "5/second; 1000/day"']
        ) from None
