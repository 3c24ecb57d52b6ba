"""`pins/<model>.json`: which version is served, and with which digest. The server starts from it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from serving.artifact.bundle import read, to_json
from serving.errors import FileUnreadable, PinInvalid, PinMissing

# A pin has about 120 bytes. MLflow numbers versions from 1, in a column of 32 bits; 0 stands for a bundle
# that no registry has numbered (`make bundle STAND_IN=yes`).
PIN_BYTES, VERSIONS = 4096, range(2**31)
# What git begins both sides with.
CONFLICT = b"<<<<<<< "


@dataclass(frozen=True)
class Pin:
    """The served version. The digest is its identity; the number is what its registry called it."""

    name: str
    version: int
    digest: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """The pin as it is in the workspace; `PinMissing` when nothing is pinned."""
        try:
            data = read(path, PIN_BYTES)
        except FileUnreadable as error:
            raise PinInvalid(path, error.reason) from None
        if data is None:
            reason = "nothing is pinned yet; `make run` or `python -m pipeline promote` does"
            raise PinMissing(path, reason)
        return cls.parse(data, path)

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Self:
        """Reads a pin; `PinInvalid` for whatever `to_bytes` would not have written."""
        if CONFLICT in data:
            raise PinInvalid(path, "it has the marks of a merge conflict, which nobody has resolved")
        try:
            document = json.loads(data)
            pin = cls(str(document["name"]), int(document["version"]), str(document["digest"]))
            rewritten = pin.to_bytes()
        # The last one is of an infinite number: 1e400 is JSON.
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise PinInvalid(path, f"{type(error).__name__}: {error}") from None
        if rewritten != data:
            raise PinInvalid(path, "its bytes are not those of name, version and digest")
        if pin.version not in VERSIONS:
            raise PinInvalid(
                path, f"{pin.version} is no version of a registry, which has 1 to {VERSIONS[-1]:,}"
            )
        if pin.name != path.stem or len(pin.digest) != 64 or not set(pin.digest) <= set("0123456789abcdef"):
            raise PinInvalid(path, f"{pin.name!r} with digest {pin.digest!r} is not a version of {path.stem}")
        return pin

    def to_bytes(self) -> bytes:
        return to_json(asdict(self))
