"""Signs bundles in the OpenSSF Model Signing format, with the package `model-signing`.

It takes half a second to import, so it is imported where it signs.
"""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from pipeline.environment import PASSPHRASE
from pipeline.errors import SigningKeyInvalid
from pipeline.registry.mlflow_files import downloaded_bundle
from pipeline.registry.mlflow_registry import RegisteredVersion, Registry
from serving.artifact.bundle import Bundle
from serving.artifact.signature import Signature
from serving.artifact.trusted_keys import CURVE_HASHES, read_trusted_keys


@dataclass(frozen=True)
class SigningKey:
    """A file with a private key on P-256, P-384 or P-521; `password` is None if it is not encrypted."""

    path: Path
    password: bytes | None = field(repr=False)
    public_pem: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path, passphrase: str) -> Self:
        """Reads the key, so that a wrong one stops a promotion at its start. Raises `SigningKeyInvalid`."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SigningKeyInvalid(path, error.strerror or type(error).__name__) from None
        # The two forms of an encrypted PEM file, PKCS #8 and OpenSSL's older one.
        encrypted = b"ENCRYPTED" in data
        if encrypted and not passphrase:
            raise SigningKeyInvalid(path, f"it is encrypted, and {PASSPHRASE} does not hold its passphrase")
        password = passphrase.encode() if encrypted else None
        try:
            key = load_pem_private_key(data, password)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            reason = "it is no private key in PEM format"
            if encrypted:
                reason = f"the passphrase in {PASSPHRASE} does not decrypt it, or it is damaged"
            raise SigningKeyInvalid(path, reason) from None
        if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in CURVE_HASHES:
            raise SigningKeyInvalid(path, "its key is not on one of the curves P-256, P-384 and P-521")
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return cls(path, password, public)


def sign_version(registry: Registry, version: RegisteredVersion, key: SigningKey) -> bytes:
    """The signature of a registered version, made of a verified copy of its files."""
    with downloaded_bundle(registry, version) as bundle:
        return sign_bundle(bundle, key)


def sign_bundle(bundle: Bundle, key: SigningKey) -> bytes:
    """The signature of all files in a bundle's folder, checked as the server checks it.

    The check raises `SignatureMismatch` if the folder has a file that the manifest does not name.
    """
    from model_signing import hashing, signing

    # By default files such as .gitignore would not be signed, although the manifest may name them.
    everything = hashing.Config()  # type: ignore[no-untyped-call]
    everything.set_ignored_paths(paths=[], ignore_git_paths=False)
    with TemporaryDirectory(prefix="goldfish-") as folder:
        file, public = Path(folder) / "model.sig", Path(folder) / "key.pub"
        signer = signing.Config()  # type: ignore[no-untyped-call]
        # The annotation says str, and cryptography, to which the password is passed, accepts only bytes.
        password = cast(str | None, key.password)
        signer.use_elliptic_key_signer(private_key=key.path, password=password)
        signer.set_hashing_config(everything).sign(bundle.path, file)
        data = file.read_bytes()
        public.write_bytes(key.public_pem)
        signature = Signature.parse(data, f"The new signature of {bundle.path.name}")
        signature.check_key(read_trusted_keys([public]))
        signature.check_files(bundle)
    return data
