"""`pins/<model>.json`: which version is served, and with which digest. The server starts from it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from serving.bundle import to_json
from serving.errors import PinInvalid, PinMissing


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
            return cls.parse(path.read_bytes(), path)
        except FileNotFoundError:
            reason = "nothing is pinned yet; `make run` or `python -m pipeline promote` does"
            raise PinMissing(path, reason) from None
        except OSError as error:
            raise PinInvalid(path, error.strerror or type(error).__name__) from None

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Self:
        """Reads a pin; `PinInvalid` for whatever `to_bytes` would not have written."""
        try:
            document = json.loads(data)
            pin = cls(str(document["name"]), int(document["version"]), str(document["digest"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PinInvalid(path, f"{type(error).__name__}: {error}") from None
        if pin.to_bytes() != data:
            raise PinInvalid(path, "its bytes are not those of name, version and digest")
        if pin.name != path.stem or len(pin.digest) != 64 or not set(pin.digest) <= set("0123456789abcdef"):
            raise PinInvalid(path, f"{pin.name!r} with digest {pin.digest!r} is not a version of {path.stem}")
        return pin

    def to_bytes(self) -> bytes:
        return to_json(asdict(self))
