"""Finds the signature of a bundle and verifies it, where `GOLDFISH_TRUSTED_KEYS` makes one obligatory."""

from serving.artifact.bundle import Bundle
from serving.artifact.files import read_file
from serving.artifact.registry.version import find_signature
from serving.artifact.signature import (
    MAX_SIGNATURE_BYTES,
    SIGNATURE,
    Signature,
    SignatureInvalid,
    SignatureMissing,
)
from serving.artifact.trusted_keys import read_trusted_keys
from serving.config import Settings
from serving.errors import FileUnreadable, ServingError


def check_signature(settings: Settings, bundle: Bundle, name: str) -> Signature | None:
    """The signature of an opened bundle by a trusted key; None if the settings trust no keys.

    It is looked up beside the pin, as `<pins>/<name>.sig`. If it is missing there or is of another digest,
    as after the alias of a followed model has moved, the registry's version is asked for its `model.sig`.

    Raises `SignatureMissing`, `SignatureInvalid`, `SignatureUntrusted` or `SignatureMismatch`, and
    `TrustedKeyInvalid` for a key file that was changed since the start.
    """
    if not settings.trusted_keys:
        return None
    keys = read_trusted_keys(settings.trusted_keys)
    signature = _find_signature(settings, bundle, name)
    signature.check_key(keys)
    signature.check_files(bundle)
    return signature


def read_local_signature(settings: Settings, name: str) -> Signature | None:
    """The signature beside the pin, not verified; None if there is none. Raises `SignatureInvalid`."""
    path = settings.pins / f"{name}.sig"
    try:
        data = read_file(path, MAX_SIGNATURE_BYTES)
    except FileUnreadable as error:
        raise SignatureInvalid(str(path), error.reason) from None
    return None if data is None else Signature.parse(data, str(path))


def _find_signature(settings: Settings, bundle: Bundle, name: str) -> Signature:
    local = read_local_signature(settings, name)
    if local is not None and local.digest == bundle.digest:
        return local
    found = "is not there" if local is None else f"is of {local.digest[:12] or 'another model'}"
    tried = [f"{settings.pins / name}.sig {found}"]
    try:
        data = find_signature(name, bundle.digest, settings.registry, settings.credentials)
    except ServingError as error:
        raise SignatureMissing(name, bundle.digest, [*tried, str(error).rstrip(".")]) from error
    if data is None:
        tried.append(f"the version in the registry has no {SIGNATURE}")
        raise SignatureMissing(name, bundle.digest, tried)
    return Signature.parse(data, f"{SIGNATURE} of {name} {bundle.digest[:12]} in the registry")
