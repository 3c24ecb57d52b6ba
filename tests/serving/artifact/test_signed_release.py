"""With trusted keys, nothing unsigned is served or built into an image."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from serving.__main__ import main
from serving.artifact import container_contents
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import find_release
from serving.artifact.signature import SignatureInvalid, SignatureMissing, SignatureUntrusted
from serving.config import Settings
from tests.serving.bundles import write_bundle
from tests.serving.servers import publish
from tests.serving.signatures import KeyPair, make_key, sign_folder


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """The trusted key."""
    return make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture
def settings(tmp_path: Path, key: KeyPair, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a workspace with a pinned bundle, which is the current directory."""
    monkeypatch.chdir(publish(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Settings(model="colours", trusted_keys=(key.public,))


BUNDLE, SIGNATURE = Path("models/colours/bundle"), Path("pins/colours.sig")


def sign(key: KeyPair) -> bytes:
    """Signs the bundle of the workspace."""
    data = sign_folder(BUNDLE, key)
    SIGNATURE.write_bytes(data)
    return data


def test_a_signed_bundle_is_served(settings: Settings, key: KeyPair) -> None:
    data = sign(key)
    release = find_release(settings, "colours")
    assert release.signature is not None
    assert release.signature.data == data


def test_without_keys_no_signature_is_read(settings: Settings) -> None:
    SIGNATURE.write_bytes(b"no signature")
    assert find_release(replace(settings, trusted_keys=()), "colours").signature is None


def test_an_unsigned_bundle_is_not_served(settings: Settings) -> None:
    with pytest.raises(SignatureMissing, match=r"pins/colours\.sig is not there; .*mlflow\.db.*--sign"):
        find_release(settings, "colours")


def test_another_key_is_not_enough(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    sign(make_key(tmp_path / "other"))
    with pytest.raises(SignatureUntrusted, match=r"^pins/colours\.sig was made by none"):
        find_release(settings, "colours")


def test_the_signature_of_the_version_before_is_not_enough(settings: Settings, key: KeyPair) -> None:
    old = Bundle.open(BUNDLE).digest
    sign(key)
    bundle = Bundle.open(write_bundle(BUNDLE, steepness=5.0))
    Path("pins/colours.json").write_bytes(Pin("colours", 4, bundle.digest).to_bytes())
    with pytest.raises(SignatureMissing, match=rf"pins/colours\.sig is of {old[:12]}"):
        find_release(settings, "colours")


@pytest.mark.parametrize("data", [b"", b"{}", b" " * (4 * 2**20 + 1)], ids=["empty", "object", "huge"])
def test_a_damaged_signature_is_named(settings: Settings, data: bytes) -> None:
    SIGNATURE.write_bytes(data)
    with pytest.raises(SignatureInvalid, match=r"^pins/colours\.sig is not a signature"):
        find_release(settings, "colours")


def test_the_image_gets_what_was_checked(
    settings: Settings, key: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOLDFISH_MODEL", "colours")
    monkeypatch.setenv("GOLDFISH_TRUSTED_KEYS", str(key.public))
    target = tmp_path / "baked"
    assert container_contents.main([str(target)]) == 1
    assert not target.exists()
    data = sign(key)
    assert container_contents.main([str(target)]) == 0
    assert (target / "pins/colours.sig").read_bytes() == data
    # The image has only the serving files; the server in it can check the signature all the same.
    inside = replace(settings, pins=target / "pins", models_folder=target / "models")
    assert find_release(inside, "colours").signature is not None


def test_an_image_without_trusted_keys_has_the_signature_too(
    settings: Settings, key: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOLDFISH_MODEL", "colours")
    data = sign(key)
    assert container_contents.main([str(tmp_path / "baked")]) == 0
    assert (tmp_path / "baked/pins/colours.sig").read_bytes() == data


def test_the_server_does_not_start(
    settings: Settings, key: KeyPair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOLDFISH_MODEL", "colours")
    monkeypatch.setenv("GOLDFISH_TRUSTED_KEYS", str(key.public))
    assert main([]) == 1
    assert "has no signature, and GOLDFISH_TRUSTED_KEYS makes one obligatory" in capsys.readouterr().err
