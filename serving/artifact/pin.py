"""`pins/<model>.json`: the version and digest that are served. The server starts from it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from serving.artifact.files import read_file, to_json
from serving.errors import FileUnreadable, PinInvalid, PinMissing

# A pin has about 120 bytes, and 70 more for each further digest that it allows.
MAX_PIN_BYTES = 64 * 1024
# MLflow numbers versions from 1, in a 32-bit column. 0 is a bundle without a registered version
# (`make bundle STAND_IN=yes`).
VERSIONS = range(2**31)
CONFLICT_MARKER = b"<<<<<<< "


@dataclass(frozen=True)
class Pin:
    """The served version. The digest identifies it; the number is its label in the registry.

    `allowed` are further digests that a server may change to when it follows an alias of the registry.
    """

    name: str
    version: int
    digest: str
    allowed: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, Any]:
        """Name, version and digest, as responses and log lines have them."""
        return {"name": self.name, "version": self.version, "digest": self.digest}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a pin from the workspace. Raises `PinMissing` if there is none, or `PinInvalid`."""
        try:
            data = read_file(path, MAX_PIN_BYTES)
        except FileUnreadable as error:
            raise PinInvalid(path, error.reason) from None
        if data is None:
            reason = "nothing is pinned yet; `make run` or `python -m pipeline promote` does"
            raise PinMissing(path, reason)
        return cls.parse(data, path)

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Self:
        """Parses a pin. Raises `PinInvalid` for any bytes that `to_bytes` would not write."""
        if CONFLICT_MARKER in data:
            raise PinInvalid(path, "it has the marks of a merge conflict, which nobody has resolved")
        try:
            document = json.loads(data)
            allowed = tuple(map(str, document.get("allowed", ())))
            pin = cls(str(document["name"]), int(document["version"]), str(document["digest"]), allowed)
            rewritten = pin.to_bytes()
        # OverflowError: 1e400 is valid JSON and parses to infinity.
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise PinInvalid(path, f"{type(error).__name__}: {error}") from None
        if rewritten != data:
            raise PinInvalid(path, "its bytes are not those of name, version and digest")
        if pin.version not in VERSIONS:
            raise PinInvalid(
                path, f"{pin.version} is no version of a registry, which has 1 to {VERSIONS[-1]:,}"
            )
        if pin.name != path.stem or not is_digest(pin.digest):
            raise PinInvalid(path, f"{pin.name!r} with digest {pin.digest!r} is not a version of {path.stem}")
        for digest in pin.allowed:
            if not is_digest(digest):
                raise PinInvalid(path, f"it allows {digest!r}, which is no digest")
        return pin

    def to_bytes(self) -> bytes:
        """Canonical bytes; `allowed` is left out if it is empty."""
        return to_json(self.identity | ({"allowed": self.allowed} if self.allowed else {}))


def is_digest(text: str) -> bool:
    """Is it a SHA-256 in hexadecimal digits?"""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
