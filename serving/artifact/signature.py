"""Signatures of bundles in the OpenSSF Model Signing format (OMS), verified with `cryptography` alone.

    ServingError
    ├── SignatureMissing    signature_missing
    ├── SignatureInvalid    signature_invalid
    ├── SignatureUntrusted  signature_untrusted
    └── SignatureMismatch   signature_mismatch

A signature is a Sigstore bundle in JSON: a DSSE envelope (github.com/secure-systems-lab/dsse, protocol 1.0)
around an in-toto statement that lists the files of the model with their SHA-256, and `manifest.json` among
them. The package `model-signing` writes it; `pipeline/registry/signing.py` calls that.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

from serving.artifact.bundle import Bundle
from serving.artifact.manifest import MANIFEST
from serving.artifact.trusted_keys import TrustedKey
from serving.errors import ServingError

# The file name of a signature in the registry, which is also the usual one of model-signing.
SIGNATURE = "model.sig"
# A signature has about 250 bytes per file, in base64; a manifest of 1 MiB lists some 7,000 files.
MAX_SIGNATURE_BYTES = 4 * 2**20
PAYLOAD_TYPE = "application/vnd.in-toto+json"
# An error quotes at most this many characters of what a file holds, and names of files up to this number.
MAX_QUOTED_CHARACTERS, MAX_NAMES = 200, 3

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class SignatureMissing(ServingError):
    """Keys are trusted, and there is no signature of the bundle."""

    code = "signature_missing"

    def __init__(self, name: str, digest: str, tried: Iterable[str]) -> None:
        super().__init__(
            f"{name} {digest[:12]} has no signature, and GOLDFISH_TRUSTED_KEYS makes one obligatory; tried: "
            f"{'; '.join(tried)}. `python -m pipeline promote {name} --sign key.pem` signs it."
        )


class SignatureInvalid(ServingError):
    """The file is not a signature in the format of OMS."""

    code = "signature_invalid"

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} is not a signature of a model: {_quote(reason)}.")


class SignatureUntrusted(ServingError):
    """No trusted key has made the signature."""

    code = "signature_untrusted"

    def __init__(self, where: str, key: str, trusted: Iterable[str]) -> None:
        ids = ", ".join(each[:12] for each in trusted)
        super().__init__(
            f"{where} was made by none of the trusted keys ({ids}), or was changed afterwards; "
            f"it names the key {key[:12] or '(none)'}."
        )


class SignatureMismatch(ServingError):
    """The signature is of another bundle."""

    code = "signature_mismatch"

    def __init__(self, where: str, digest: str, reason: str) -> None:
        super().__init__(f"{where} does not sign the bundle with the digest {digest}: {_quote(reason)}.")


class _Key(msgspec.Struct):
    """Which key has signed: the SHA-256 of its PEM text. It is not signed itself."""

    hint: Annotated[str, Meta(pattern=r"^[0-9a-f]{0,64}\Z")] = ""


class _Material(msgspec.Struct, rename="camel"):
    public_key: _Key


class _RawSignature(msgspec.Struct):
    sig: bytes


class _Envelope(msgspec.Struct, rename="camel"):
    payload: bytes
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[list[_RawSignature], Meta(min_length=1, max_length=1)]


class _SigstoreBundle(msgspec.Struct, rename="camel"):
    """The outermost JSON document; `bytes` are base64 in it."""

    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: _Envelope


class _Digest(msgspec.Struct):
    sha256: Sha256


class _Subject(msgspec.Struct):
    """The model as a whole: its digest is the SHA-256 of the digests of all files, in their order."""

    digest: _Digest


class _Serialization(msgspec.Struct):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Resource(msgspec.Struct):
    name: str
    algorithm: Literal["sha256"]
    digest: Sha256


class _Predicate(msgspec.Struct):
    serialization: _Serialization
    resources: list[_Resource]


class _Statement(msgspec.Struct, rename="camel"):
    """The signed in-toto statement."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[list[_Subject], Meta(min_length=1, max_length=1)]
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    predicate: _Predicate


@dataclass(frozen=True)
class Signature:
    """A parsed signature. `parse` alone proves nothing: `check_key` and `check_files` do.

    `where` names its file in errors; `files` has the SHA-256 of each signed file by its path in the bundle.
    """

    where: str
    data: bytes = field(repr=False)
    key: str
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    files: dict[str, str] = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Parses a signature and compares its root digest with its files. Raises `SignatureInvalid`."""
        if len(data) > MAX_SIGNATURE_BYTES:
            raise SignatureInvalid(where, f"it has more than {MAX_SIGNATURE_BYTES:,} bytes")
        try:
            document = msgspec.json.decode(data, type=_SigstoreBundle)
            envelope = document.dsse_envelope
            statement = msgspec.json.decode(envelope.payload, type=_Statement)
        # RecursionError: deeply nested JSON.
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise SignatureInvalid(where, str(error) or type(error).__name__) from None
        resources = statement.predicate.resources
        files = {resource.name: resource.digest for resource in resources}
        if len(files) < len(resources):
            raise SignatureInvalid(where, "it names a file twice")
        root = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in files.values())).hexdigest()
        if root != (stated := statement.subject[0].digest.sha256):
            raise SignatureInvalid(where, f"its root digest is {stated}, and its files give {root}")
        key, signature = document.verification_material.public_key.hint, envelope.signatures[0].sig
        return cls(where, data, key, envelope.payload, signature, files)

    @property
    def digest(self) -> str:
        """The digest of the signed bundle, which is the SHA-256 of its manifest; "" without a manifest."""
        return self.files.get(MANIFEST, "")

    def check_key(self, trusted: list[TrustedKey]) -> None:
        """Raises `SignatureUntrusted` unless one of the keys has made the signature."""
        message = b"DSSEv1 %d %s %d %s" % (  # the pre-authentication encoding (PAE) of DSSE
            len(PAYLOAD_TYPE),
            PAYLOAD_TYPE.encode(),
            len(self.payload),
            self.payload,
        )
        if not any(key.has_signed(message, self.signature) for key in trusted):
            raise SignatureUntrusted(self.where, self.key, [key.id for key in trusted])

    def check_files(self, bundle: Bundle) -> None:
        """Raises `SignatureMismatch` unless exactly the files of the bundle are signed.

        Only the bundle's manifest is read, so bundles without the files of the pipeline can be checked.
        """
        if self.digest != bundle.digest:
            found = f"it names {self.digest}" if self.digest else f"it names no {MANIFEST}"
            raise SignatureMismatch(self.where, bundle.digest, found)
        expected = {MANIFEST: bundle.digest}
        expected |= {name: file.sha256 for name, file in bundle.manifest.files.items()}
        if differences := list(_describe_differences(self.files, expected)):
            raise SignatureMismatch(self.where, bundle.digest, "; ".join(differences))


def _describe_differences(signed: dict[str, str], expected: dict[str, str]) -> Iterator[str]:
    changed = {name for name in signed.keys() & expected.keys() if signed[name] != expected[name]}
    for what, names in (
        ("files that are not signed", expected.keys() - signed.keys()),
        ("signed files that the bundle does not have", signed.keys() - expected.keys()),
        ("files with another SHA-256", changed),
    ):
        if names:
            more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
            yield f"{what}: {', '.join(sorted(names)[:MAX_NAMES])}{more}"


def _quote(text: str) -> str:
    """A text that may hold parts of a hostile file: printable, and shortened."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    short = len(printable) <= MAX_QUOTED_CHARACTERS
    return printable if short else f"{printable[:MAX_QUOTED_CHARACTERS]}…"
