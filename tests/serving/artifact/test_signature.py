"""Signatures of bundles: those of model-signing are accepted, and nothing else is."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.signature import (
    MAX_SIGNATURE_BYTES,
    Signature,
    SignatureInvalid,
    SignatureMismatch,
    SignatureUntrusted,
)
from serving.artifact.trusted_keys import read_trusted_keys
from tests.serving.bundles import write_bundle, write_files, write_manifest
from tests.serving.signatures import (
    CURVES,
    KeyPair,
    changed_envelope,
    make_key,
    set_root,
    sign_folder,
    signed_again,
)

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """A trusted key on P-256."""
    return make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that tests leave as it is."""
    return write_bundle(tmp_path_factory.mktemp("signed") / "bundle", extra={".gitignore": b"*.tmp\n"})


@pytest.fixture(scope="module")
def good(signed: Path, key: KeyPair) -> bytes:
    """The signature of that bundle by that key."""
    return sign_folder(signed, key)


def check(data: bytes, bundle: Path, *keys: KeyPair) -> None:
    """All checks of a signature, as `check_signature` makes them."""
    signature = Signature.parse(data, "model.sig")
    signature.check_key(read_trusted_keys([key.public for key in keys]))
    signature.check_files(Bundle.open(bundle))


@pytest.mark.parametrize("curve", CURVES)
def test_what_model_signing_signs_is_accepted(curve: str, signed: Path, key: KeyPair, tmp_path: Path) -> None:
    other = make_key(tmp_path, curve)
    data = sign_folder(signed, other)
    check(data, signed, other)
    # One of several trusted keys is enough.
    check(data, signed, key, other)
    assert Signature.parse(data, "model.sig").key == read_trusted_keys([other.public])[0].id


def test_only_the_manifest_is_needed(good: bytes, signed: Path, key: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes((signed / "manifest.json").read_bytes())
    check(good, tmp_path, key)


def test_another_key_is_not_trusted(good: bytes, signed: Path, key: KeyPair, tmp_path: Path) -> None:
    other = make_key(tmp_path)
    with pytest.raises(SignatureUntrusted) as caught:
        check(good, signed, other)
    for each in (key, other):
        assert read_trusted_keys([each.public])[0].id[:12] in str(caught.value)


def test_the_key_hint_is_not_believed(good: bytes, signed: Path, tmp_path: Path) -> None:
    other = make_key(tmp_path)
    (trusted,) = read_trusted_keys([other.public])
    material = {"publicKey": {"hint": trusted.id}}
    forged = changed_envelope(good, lambda document: document.update(verificationMaterial=material))
    with pytest.raises(SignatureUntrusted):
        check(forged, signed, other)


@pytest.mark.parametrize("part", ["payload", "sig"])
def test_a_changed_byte_is_noticed(good: bytes, signed: Path, key: KeyPair, part: str) -> None:
    def flip(document: dict[str, Any]) -> None:
        envelope = document["dsseEnvelope"]
        where = envelope if part == "payload" else envelope["signatures"][0]
        data = bytearray(base64.b64decode(where[part]))
        # A space of the statement's indent becomes a tab, which leaves its meaning as it was.
        data[data.index(b" ") if part == "payload" else -1] ^= ord(" ") ^ ord("\t")
        where[part] = base64.b64encode(data).decode()

    with pytest.raises(SignatureUntrusted):
        check(changed_envelope(good, flip), signed, key)


def files(statement: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = statement["predicate"]["resources"]
    return found


def without_labels(statement: dict[str, Any]) -> None:
    files(statement)[:] = [file for file in files(statement) if file["name"] != "serving/labels.json"]


def with_another(statement: dict[str, Any]) -> None:
    files(statement).append({"name": "serving/more.json", "algorithm": "sha256", "digest": "0" * 64})


def with_another_hash(statement: dict[str, Any]) -> None:
    next(file for file in files(statement) if file["name"] == "serving/model.onnx")["digest"] = "0" * 64


def without_manifest(statement: dict[str, Any]) -> None:
    files(statement)[:] = [file for file in files(statement) if file["name"] != "manifest.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_labels, "files that are not signed: serving/labels.json"),
        (with_another, "signed files that the bundle does not have: serving/more.json"),
        (with_another_hash, "files with another SHA-256: serving/model.onnx"),
        (without_manifest, "it names no manifest.json"),
    ],
)
def test_other_files_are_refused_although_a_trusted_key_signed_them(
    good: bytes, signed: Path, key: KeyPair, change: Change, words: str
) -> None:
    def apply(statement: dict[str, Any]) -> None:
        change(statement)
        set_root(statement)

    with pytest.raises(SignatureMismatch, match=words):
        check(signed_again(good, key, apply), signed, key)


def test_a_file_that_was_added_to_the_manifest_is_refused(
    good: bytes, signed: Path, key: KeyPair, tmp_path: Path
) -> None:
    extended = write_bundle(tmp_path / "bundle", extra={".gitignore": b"*.tmp\n"})
    assert Bundle.open(extended).digest == Bundle.open(signed).digest
    write_files(extended, {"serving/more.json": b"{}\n"})
    write_manifest(extended)
    with pytest.raises(SignatureMismatch, match=Bundle.open(signed).digest):
        check(good, extended, key)


def test_the_unchanged_statement_can_be_signed_again(good: bytes, signed: Path, key: KeyPair) -> None:
    # So the refusals of this file come from the changes.
    check(signed_again(good, key, lambda _: None), signed, key)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: it.update(predicateType="https://slsa.dev/provenance/v1"), "predicateType"),
        (lambda it: it.update(_type="https://in-toto.io/Statement/v0.1"), "_type"),
        (lambda it: it["subject"].append(it["subject"][0]), "subject"),
        (lambda it: it["subject"][0]["digest"].update(sha256="0" * 64), f"root digest is {'0' * 64}"),
        (lambda it: it["subject"][0]["digest"].clear(), "sha256"),
        (lambda it: files(it).append(files(it)[0]), "names a file twice"),
        (lambda it: files(it)[0].update(algorithm="blake3"), "algorithm"),
        (lambda it: files(it)[0].update(digest="0" * 63), "digest"),
        (lambda it: it["predicate"]["serialization"].update(method="shards"), "method"),
        (lambda it: it.pop("predicate"), "predicate"),
    ],
)
def test_a_statement_of_another_form_is_refused(
    good: bytes, signed: Path, key: KeyPair, change: Change, words: str
) -> None:
    with pytest.raises(SignatureInvalid, match=words):
        check(signed_again(good, key, change), signed, key)


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
        lambda it: it["dsseEnvelope"].update(payloadType="application/json"),
        lambda it: it["dsseEnvelope"].update(payload="{"),
        lambda it: it["dsseEnvelope"].update(signatures=[]),
        lambda it: it["dsseEnvelope"]["signatures"].append(it["dsseEnvelope"]["signatures"][0]),
        lambda it: it.update(verificationMaterial={"certificate": {"rawBytes": "MIIB"}}),
        lambda it: it["verificationMaterial"]["publicKey"].update(hint="\n" * 9),
        lambda it: it.pop("dsseEnvelope"),
    ],
)
def test_an_envelope_of_another_form_is_refused(
    good: bytes, signed: Path, key: KeyPair, change: Change
) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        check(changed_envelope(good, change), signed, key)
    assert str(caught.value).isprintable()


NESTED = b"[" * 100_000


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"null", b"[]", b"\xff\xfe", NESTED, b'{"mediaType": ' + NESTED),
        b" " * (MAX_SIGNATURE_BYTES + 1),
        b'{"mediaType": "' + b"\\u001b" * 100_000 + b'"}',
    ],
    ids=range(9),
)
def test_what_is_no_signature_is_refused_with_a_short_sentence(data: bytes) -> None:
    with pytest.raises(SignatureInvalid, match=r"^model\.sig is not a signature of a model: ") as caught:
        Signature.parse(data, "model.sig")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_every_truncated_signature_is_refused(good: bytes) -> None:
    for length in range(len(good)):
        with pytest.raises(SignatureInvalid):
            Signature.parse(good[:length], "model.sig")


def test_nesting_inside_the_payload_is_refused(good: bytes) -> None:
    payload = base64.b64encode(b'{"predicate": ' + NESTED).decode()
    nested = changed_envelope(good, lambda it: it["dsseEnvelope"].update(payload=payload))
    with pytest.raises(SignatureInvalid):
        Signature.parse(nested, "model.sig")
    assert json.loads(nested)
