"""Keys and signatures for tests: OpenSSL makes the keys, `model-signing` the signatures."""

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from model_signing import hashing, signing, verifying

CURVES = ("prime256v1", "secp384r1", "secp521r1")


@dataclass(frozen=True)
class KeyPair:
    """The files of a private and of a public key in PEM format."""

    private: Path
    public: Path


def make_key(folder: Path, curve: str = CURVES[0]) -> KeyPair:
    """The commands of docs/serving.md, for a curve."""
    pair = KeyPair(folder / f"{curve}.pem", folder / f"{curve}.pub")
    openssl("ecparam", "-genkey", "-name", curve, "-noout", "-out", str(pair.private))
    openssl("ec", "-in", str(pair.private), "-pubout", "-out", str(pair.public))
    return pair


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def sign_folder(folder: Path, key: KeyPair) -> bytes:
    """The signature of all files in a folder, made by model-signing without our code."""
    everything = hashing.Config()  # type: ignore[no-untyped-call]
    everything.set_ignored_paths(paths=[], ignore_git_paths=False)
    signer, file = signing.Config(), folder.with_name("made.sig")  # type: ignore[no-untyped-call]
    signer.use_elliptic_key_signer(private_key=key.private).set_hashing_config(everything).sign(folder, file)
    return file.read_bytes()


def verify_folder(folder: Path, signature: Path, key: KeyPair) -> None:
    """model-signing's own verification; raises `ValueError`."""
    verifier = verifying.Config()  # type: ignore[no-untyped-call]
    verifier.use_elliptic_key_verifier(public_key=key.public).verify(folder, signature)


def changed_envelope(signature: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A signature whose outermost document was changed."""
    document = json.loads(signature)
    change(document)
    return json.dumps(document).encode()


def signed_again(signature: bytes, key: KeyPair, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A signature whose statement was changed and then signed by the key's owner (P-256)."""
    document = json.loads(signature)
    envelope = document["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    private = load_pem_private_key(key.private.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    kind = envelope["payloadType"].encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    made = private.sign(message, ec.ECDSA(hashes.SHA256()))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(made).decode()
    return json.dumps(document).encode()


def set_root(statement: dict[str, Any]) -> None:
    """Makes the root digest right again after files were changed."""
    digests = [bytes.fromhex(resource["digest"]) for resource in statement["predicate"]["resources"]]
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(b"".join(digests)).hexdigest()
