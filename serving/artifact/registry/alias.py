"""Finds the version that an alias of the registry names."""

from serving.artifact.pin import VERSIONS, Pin, is_digest
from serving.artifact.registry.address import NO_CREDENTIALS, SQLITE, Credentials
from serving.artifact.registry.database import find_alias_in_database
from serving.artifact.registry.errors import AliasUnusable
from serving.artifact.registry.server import RegistryServer


def find_alias(name: str, alias: str, uri: str, credentials: Credentials = NO_CREDENTIALS) -> Pin:
    """Name, number and digest of the version that has an alias.

    Raises `AliasUnusable` if no version has it or the version has no digest, and `RegistryUnavailable`.
    """
    if uri.startswith(SQLITE):
        found = find_alias_in_database(uri, name, alias)
    else:
        found = RegistryServer.at(uri, credentials).find_alias(name, alias)
    if found is None:
        raise AliasUnusable(uri, name, alias, "no version has this alias")
    number, digest = found
    if digest is None:
        raise AliasUnusable(uri, name, alias, f"version {number} has no digest: Goldfish did not register it")
    if not is_digest(digest) or number not in VERSIONS:
        raise AliasUnusable(
            uri, name, alias, f"version {number} has the tag digest {digest!r}, which is none"
        )
    return Pin(name, number, digest)
