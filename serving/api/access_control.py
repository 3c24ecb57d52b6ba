"""Access control: API keys, their quotas and a rate limit. Each is off until a setting turns it on."""

import hashlib
import ipaddress
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from flask import Request

from serving import rates
from serving.api.errors import KeyExpired, KeyMissing, KeyUnknown, QuotaExceeded, RateLimited, RequestError
from serving.api.key_file import MAX_KEYS, ApiKey
from serving.api.key_store import KeyStore
from serving.api.rate_limit import MAX_CLIENTS, MAX_NETWORKS, ClientWindows, RateLimiter
from serving.config import SettingsInvalid, variable
from serving.rates import Rate
from serving.server.client_address import client_from_address
from serving.workers.shared_folder import SharedFolder

# Entry of the WSGI environment with the name of the key that a request was sent with.
KEY_NAME = "goldfish.key"
# Prefix lengths of the networks that a client belongs to, by IP version: one customer's, one provider's.
NETWORK_PREFIXES = {4: (24, 16), 6: (48, 32)}
# Names with different quotas that are counted in periods of one length. There are at most `MAX_KEYS` at the
# same time, but a quota that was changed is counted until two of its periods are over.
MAX_QUOTAS = 8 * MAX_KEYS
# Different quotas whose tables are open at the same time: each takes a file descriptor.
OPEN_QUOTAS = 16


class AccessControl:
    """Checks a request before its body is read. `keys` are SHA-256 digests; `keys_file` replaces them.

    Unlike passwords, keys are long and random, so a plain SHA-256 protects them.
    """

    def __init__(
        self, keys: tuple[str, ...], rate_limit: str, folder: SharedFolder, keys_file: Path | None = None
    ) -> None:
        """Reads the file of keys, and opens the counts that all workers share in `folder`.

        Raises `SettingsInvalid`.
        """
        self._keys = KeyStore(keys, keys_file) if keys or keys_file else None
        self._rate_limit, self._folder = rate_limit, folder
        # A limit that is written twice is counted once.
        limits = dict.fromkeys(_parse(rate_limit)) if rate_limit else ()
        self._address_windows = [self._open(limit, "addresses") for limit in limits]
        # Keys have a table of their own, so that requests from many addresses cannot displace their counts.
        self._key_windows = [self._open(limit, "keys", MAX_KEYS, 0) for limit in limits] if self._keys else []
        self._quota_windows = lru_cache(OPEN_QUOTAS)(self._open_quota)
        self._limiter = RateLimiter(folder)

    def _open(
        self, limit: Rate, kind: str, clients: int = MAX_CLIENTS, networks: int = MAX_NETWORKS
    ) -> ClientWindows:
        """The windows of a limit for one kind of clients."""
        name = f"{kind}-{limit.amount}-{limit.seconds}"
        try:
            return ClientWindows(limit, self._folder, name, clients, networks)
        except OSError as error:
            reason = f"its counts cannot be kept in {self._folder.path} ({error.strerror})"
            raise SettingsInvalid([f"{variable('rate_limit')} cannot be used: {reason}"]) from None

    def _open_quota(self, quota: Rate) -> ClientWindows:
        """The windows of a quota. All quotas with periods of the same length are in one table."""
        return ClientWindows(quota, self._folder, f"quotas-{quota.seconds}", MAX_QUOTAS, networks=0)

    @property
    def requires_key(self) -> bool:
        """Are API keys configured?"""
        return self._keys is not None

    def check(self, request: Request) -> str:
        """Authenticates and counts a request; returns its client, a key or an address.

        Raises `KeyMissing`, `KeyUnknown`, `KeyExpired`, `QuotaExceeded` or `RateLimited`.
        """
        client = client_from_address(request.remote_addr)
        if not self._keys:
            self._check_rate_limit(self._address_windows, client)
            return client
        try:
            key = self._authenticate(request, self._keys)
        except RequestError:
            # Failed attempts count against the address, which limits how fast keys can be guessed.
            self._check_rate_limit(self._address_windows, client)
            raise
        client = f"key {key.name}"
        self._check_rate_limit(self._key_windows, client)
        self._check_quota(key)
        return client

    def _check_rate_limit(self, windows: list[ClientWindows], client: str) -> None:
        if windows and (wait := self._limiter.hit(windows, client, networks_of)):
            raise RateLimited(self._rate_limit, math.ceil(wait))

    def _authenticate(self, request: Request, keys: KeyStore) -> ApiKey:
        sent = request.headers.get("X-API-Key") or _bearer_token(request.headers.get("Authorization", ""))
        if not sent:
            raise KeyMissing
        key = keys.find(hashlib.sha256(sent.encode()).hexdigest())
        if not key:
            raise KeyUnknown
        request.environ[KEY_NAME] = key.name
        if keys.is_expired(key):
            raise KeyExpired(key.name)
        return key

    def _check_quota(self, key: ApiKey) -> None:
        if key.quota:
            name = f"{key.quota.amount} {key.name}"
            if wait := self._limiter.hit([self._quota_windows(key.quota)], name):
                raise QuotaExceeded(str(key.quota), math.ceil(wait))


def _bearer_token(header: str) -> str:
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def networks_of(client: str) -> Iterator[str]:
    """The networks that contain an address, narrowest first; none if `client` is not an address."""
    try:
        network = ipaddress.ip_network(client)
    except ValueError:
        return
    for prefix in NETWORK_PREFIXES[network.version]:
        yield str(network.supernet(new_prefix=prefix))


def _parse(rate_limit: str) -> list[Rate]:
    try:
        return rates.parse_rates(rate_limit)
    except ValueError:
        name = variable("rate_limit")
        raise SettingsInvalid(
            [f'{name} is {rate_limit!r}: write it like "60/minute" or "5/second; 1000/day"']
        ) from None
