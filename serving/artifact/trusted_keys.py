"""Public keys whose signatures are trusted: PEM files, each with one or several keys.

    ServingError
    ├── TrustedKeyInvalid         trusted_key_invalid
    └── SignatureLibraryMissing   signature_library_missing

`cryptography` is imported only here and only where a key is read: a server without trusted keys runs without
the package.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from serving.artifact.files import read_file
from serving.errors import FileUnreadable, ServingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

# A key has less than 300 bytes.
MAX_KEY_FILE_BYTES = 64 * 1024
PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)
PUBLIC_KEY = b"PUBLIC KEY"
# The curves of model-signing, and the hash function that it uses with each.
CURVE_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


class TrustedKeyInvalid(ServingError):
    """A file of trusted keys cannot be used."""

    code = "trusted_key_invalid"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} cannot be used as a trusted key: {reason}. "
            "`openssl ec -in key.pem -pubout -out key.pub` writes the public half of a private key."
        )


class SignatureLibraryMissing(ServingError):
    """The package that verifies signatures is not installed."""

    code = "signature_library_missing"

    def __init__(self) -> None:
        super().__init__(
            "Signatures cannot be verified without the package cryptography: "
            "`python -m pip install --require-hashes -r requirements/follow.txt` installs it."
        )


@dataclass(frozen=True)
class TrustedKey:
    """A public key on one of the curves P-256, P-384 and P-521.

    `id` is the SHA-256 of its PEM text, by which signatures name their key.
    """

    id: str
    key: "EllipticCurvePublicKey" = field(repr=False)

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Is it an ECDSA signature of the message by this key's private half?"""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        algorithm: hashes.HashAlgorithm = getattr(hashes, CURVE_HASHES[self.key.curve.name])()
        try:
            self.key.verify(signature, message, ECDSA(algorithm))
        except InvalidSignature:
            return False
        return True


def read_trusted_keys(paths: Iterable[Path]) -> list[TrustedKey]:
    """The keys of all files. Raises `TrustedKeyInvalid` or `SignatureLibraryMissing`."""
    return [key for path in paths for key in _read_key_file(path)]


def _read_key_file(path: Path) -> list[TrustedKey]:
    try:
        data = read_file(path, MAX_KEY_FILE_BYTES)
    except FileUnreadable as error:
        raise TrustedKeyInvalid(path, error.reason) from None
    if data is None:
        raise TrustedKeyInvalid(path, "there is no such file")
    blocks = list(PEM_BLOCK.finditer(data))
    if not blocks:
        raise TrustedKeyInvalid(path, "it holds no key in PEM format")
    for block in blocks:
        if block[1] != PUBLIC_KEY:
            raise TrustedKeyInvalid(path, f"it holds a block {block[1].decode()!r} and not only public keys")
    return [_parse_key(block[0] + b"\n", path) for block in blocks]


def _parse_key(pem: bytes, path: Path) -> TrustedKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            PublicFormat,
            load_pem_public_key,
        )
    except ImportError:
        raise SignatureLibraryMissing from None
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise TrustedKeyInvalid(path, "a key in it is damaged or of an unknown kind") from None
    if not isinstance(key, EllipticCurvePublicKey):
        found = type(key).__name__.removesuffix("PublicKey").strip("_")
        raise TrustedKeyInvalid(path, f"it holds a key for {found}, and only ECDSA is supported")
    if key.curve.name not in CURVE_HASHES:
        raise TrustedKeyInvalid(
            path, f"it holds a key on the curve {key.curve.name}, and P-256, P-384 and P-521 are supported"
        )
    text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return TrustedKey(hashlib.sha256(text).hexdigest(), key)
