"""Errors of reading a registry.

    ServingError
    ├── RegistryUnavailable  registry_unavailable
    ├── VersionMissing       version_missing
    ├── AliasUnusable        alias_unusable
    └── VersionDamaged       version_damaged

No message contains a password: each removes user and password from the addresses that it is given.
"""

from serving.artifact.registry.address import without_credentials
from serving.errors import ServingError

# A message quotes at most this many characters of a location that a registry returned.
MAX_LOCATION_CHARACTERS = 300


class RegistryUnavailable(ServingError):
    """The registry cannot be reached, refuses the request, or is of a kind that cannot be read here."""

    code = "registry_unavailable"

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(
            f"The MLflow registry at {without_credentials(uri)} cannot be used: {_printable(reason)}."
        )


class VersionMissing(ServingError):
    """The registry works and does not have the pinned version."""

    code = "version_missing"

    def __init__(self, uri: str, name: str, digest: str) -> None:
        super().__init__(
            f"The MLflow registry at {without_credentials(uri)} has no version of {name} "
            f"with digest {digest}: `make run` registers one, or another registry has it."
        )


class AliasUnusable(ServingError):
    """An alias of the registry leads to no version that can be served."""

    code = "alias_unusable"

    def __init__(self, uri: str, name: str, alias: str, reason: str) -> None:
        where = f"{name}@{alias} in the MLflow registry at {without_credentials(uri)}"
        super().__init__(f"{where} cannot be followed: {_printable(reason)}.")


class VersionDamaged(ServingError):
    """A file in the registry is not the one that was registered."""

    code = "version_damaged"

    def __init__(self, version: str, file: str, reason: str) -> None:
        super().__init__(f"{version} is not what was pinned: {file} {reason}.")


def quote_location(location: str) -> str:
    """A location as error messages quote it: without user and password, and shortened."""
    text = without_credentials(location)
    return text if len(text) <= MAX_LOCATION_CHARACTERS else f"{text[:MAX_LOCATION_CHARACTERS]}…"


def _printable(text: str) -> str:
    """The text on one line, without control characters, which could move a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text)
