"""`pins/<model>.sig`: the signature of the pinned bundle, which is committed with the pin.

Nothing here verifies a signature, because the pipeline trusts no keys: servers do that, with theirs.
"""

from pathlib import Path

from pipeline.files import write
from pipeline.layout import Layout
from pipeline.registry.mlflow_files import read_signature
from pipeline.registry.mlflow_registry import RegisteredVersion, Registry
from serving.artifact.files import read_file
from serving.artifact.signature import MAX_SIGNATURE_BYTES, SIGNATURE, Signature, SignatureInvalid
from serving.errors import FileUnreadable


def read_pin_signature(layout: Layout) -> Signature | None:
    """The signature beside the pin; None if there is none. Raises `SignatureInvalid`."""
    try:
        data = read_file(layout.signature, MAX_SIGNATURE_BYTES)
    except FileUnreadable as error:
        raise SignatureInvalid(str(layout.signature), error.reason) from None
    return None if data is None else Signature.parse(data, str(layout.signature))


def find_signature(layout: Layout, registry: Registry, version: RegisteredVersion) -> bytes | None:
    """The signature that belongs beside a pin of this version: the one that is there, or the registry's.

    None if neither is a signature of this digest.
    """
    if has_signature_of(layout, version.digest):
        return layout.signature.read_bytes()
    data = read_signature(registry, version)
    try:
        found = data and Signature.parse(data, f"{SIGNATURE} of {version.uri}")
    except SignatureInvalid as error:
        print(f"{error} It is not used.")
        return None
    return data if found and found.digest == version.digest else None


def has_signature_of(layout: Layout, digest: str) -> bool:
    """Is there a well-formed signature of this digest beside the pin?"""
    try:
        signature = read_pin_signature(layout)
    except SignatureInvalid:
        return False
    return signature is not None and signature.digest == digest


def replace_file(path: Path, data: bytes | None) -> None:
    """Writes a file atomically; None removes it."""
    if data is None:
        path.unlink(missing_ok=True)
    else:
        write(path, data)
