"""`promote --sign`: the signature lies beside the pin and in the registry, and changes only with the pin."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.environment import Environment
from pipeline.errors import ChainBroken, RegistryUnavailable, SigningKeyInvalid
from pipeline.project.repair import repair
from pipeline.registry.chain_of_custody import chain_links
from pipeline.registry.mlflow_files import has_all_files, read_signature, write_signature
from pipeline.registry.mlflow_registry import Registry
from pipeline.registry.promotion import promote
from pipeline.registry.signing import SigningKey, sign_bundle, sign_version
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import find_release
from serving.artifact.signature import Signature, SignatureMismatch
from serving.artifact.trusted_keys import read_trusted_keys
from serving.config import Settings
from tests.pipeline.candidate_bundle import LAYOUT, write_candidate
from tests.pipeline.projects import Project
from tests.serving.bundles import write_bundle
from tests.serving.signatures import CURVES, KeyPair, make_key, openssl, sign_folder, verify_folder


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """The key of the promotions."""
    return make_key(tmp_path_factory.mktemp("key"))


def promote_signed(key: KeyPair) -> bytes:
    assert main(["promote", "tiny", "--sign", str(key.private)]) == 0
    return LAYOUT.signature.read_bytes()


@pytest.mark.parametrize("curve", CURVES)
def test_model_signing_accepts_our_signature(curve: str, tmp_path: Path) -> None:
    pair, bundle = make_key(tmp_path, curve), Bundle.open(write_bundle(tmp_path / "bundle"))
    file = tmp_path / "bundle.sig"
    file.write_bytes(sign_bundle(bundle, SigningKey.read(pair.private, "")))
    verify_folder(bundle.path, file, pair)


@pytest.mark.parametrize("form", ["PKCS #8", "older"])
def test_an_encrypted_key_signs(form: str, key: KeyPair, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.pem"
    command = ("pkcs8", "-topk8") if form == "PKCS #8" else ("ec", "-aes256")
    openssl(*command, "-in", str(key.private), "-passout", "pass:open sesame", "-out", str(encrypted))
    bundle = Bundle.open(write_bundle(tmp_path / "bundle"))
    data = sign_bundle(bundle, SigningKey.read(encrypted, "open sesame"))
    Signature.parse(data, "model.sig").check_key(read_trusted_keys([key.public]))
    for passphrase, words in (("", "SIGNING_KEY_PASSPHRASE does not hold"), ("wrong", "does not decrypt it")):
        with pytest.raises(SigningKeyInvalid, match=words):
            SigningKey.read(encrypted, passphrase)


def test_a_file_that_the_manifest_does_not_name_is_not_signed(key: KeyPair, tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "bundle"))
    (bundle.path / "more.txt").write_text("more")
    with pytest.raises(SignatureMismatch, match=r"more\.txt"):
        sign_bundle(bundle, SigningKey.read(key.private, ""))


def test_the_signature_goes_with_the_pin(
    project: Project,
    registry: Registry,
    key: KeyPair,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = write_candidate(4.0)
    signature = promote_signed(key)
    version = registry.get_by_number("tiny", 1)
    # The registry has the same bytes, and not among the files of the bundle.
    assert read_signature(registry, version) == signature
    assert has_all_files(registry, version, first)
    verify_folder(first.path, LAYOUT.signature, key)
    served = find_release(Settings(trusted_keys=(key.public,)), "tiny").signature
    assert served is not None
    assert served.data == signature
    project.commit("signed")
    # A promotion of the same version keeps it.
    assert main(["promote", "tiny"]) == 0
    assert project.changes() == ""
    # Without a key it does not stay beside the pin of another version.
    write_candidate(5.0)
    capsys.readouterr()
    assert main(["promote", "tiny"]) == 0
    assert "pins/tiny.sig removed" in capsys.readouterr().out
    assert not LAYOUT.signature.exists()
    project.commit("not signed")
    # Rollback takes that of the first version from the registry.
    assert main(["rollback", "tiny"]) == 0
    assert LAYOUT.signature.read_bytes() == signature
    # What is in the registry is used only if it is a signature of the version.
    LAYOUT.signature.unlink()
    for wrong in (b"{}", sign_folder(write_bundle(tmp_path / "other"), key)):
        write_signature(registry, version, wrong)
        assert main(["promote", "tiny", "--version", "1"]) == 0
        assert not LAYOUT.signature.exists()
    assert "is not a signature of a model" in capsys.readouterr().out


def test_a_failure_leaves_pin_signatures_and_alias(
    project: Project, registry: Registry, key: KeyPair
) -> None:
    write_candidate()
    before = promote_signed(key)
    version = registry.get_by_number("tiny", 1)
    # The alias cannot be set to a version with this number, which the registry does not have.
    missing = replace(version, number=99, pinned_as=1)
    signature = sign_version(registry, version, SigningKey.read(key.private, ""))
    assert signature != before
    for stored in (before, None):
        write_signature(registry, version, stored)
        with pytest.raises(RegistryUnavailable, match="99"):
            promote(LAYOUT, registry, missing, signature)
        assert LAYOUT.signature.read_bytes() == before
        assert Pin.read(LAYOUT.pin) == Pin("tiny", 1, version.digest)
        assert read_signature(registry, version) == stored
        assert registry.champion("tiny") == version


def wrong_keys(folder: Path) -> dict[str, Path]:
    """Files that are no keys to sign with, by what the error says of them."""
    pair, rsa = make_key(folder), folder / "rsa.pem"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", str(rsa))
    return {
        "No such file": folder / "nowhere.pem",
        "Is a directory": folder,
        "it is no private key in PEM format": pair.public,
        "not on one of the curves": rsa,
        "not on one of the curves P-256": make_key(folder, "secp256k1").private,
    }


def test_a_wrong_key_changes_nothing(
    project: Project, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_candidate()
    for words, path in wrong_keys(tmp_path).items():
        assert main(["promote", "tiny", "--sign", str(path)]) == 1
        assert f"{path} cannot sign a bundle: " in (said := capsys.readouterr().err)
        assert words in said
    assert registry.list_versions("tiny") == []
    assert not LAYOUT.pin.exists()


@pytest.mark.parametrize("registered", [True, False])
def test_verify_notices_a_wrong_signature_and_repair_replaces_it(
    project: Project, registry: Registry, key: KeyPair, tmp_path: Path, registered: bool
) -> None:
    write_candidate()
    signature = promote_signed(key)
    project.commit("signed")
    (pin,) = [link for link in chain_links(LAYOUT, lambda: registry) if link.name == "pin"]
    assert read_trusted_keys([key.public])[0].id[:12] in pin.verify()
    if not registered:
        write_signature(registry, registry.get_by_number("tiny", 1), None)
    environment = Environment(None, project.root, experiment=False)
    for wrong, words in (
        (b"{}", "pins/tiny.sig is not a signature"),
        (sign_folder(write_bundle(tmp_path / "other"), key), "not of the pinned"),
    ):
        LAYOUT.signature.write_bytes(wrong)
        with pytest.raises(ChainBroken, match=words):
            pin.verify()
        mended = [str(each) for each in repair(LAYOUT, environment) if "pins/tiny.sig" in str(each)]
        assert len(mended) == 1
        assert mended[0].startswith("mended")
        assert LAYOUT.signature.exists() is registered
        assert not registered or LAYOUT.signature.read_bytes() == signature
        pin.verify()
