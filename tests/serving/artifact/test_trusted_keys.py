"""Files of trusted keys: which are accepted, and what stops a server at its start."""

import subprocess
import sys
from pathlib import Path

import pytest

from serving.artifact.trusted_keys import MAX_KEY_FILE_BYTES, TrustedKeyInvalid, read_trusted_keys
from serving.config import Settings, SettingsInvalid
from tests.repo.imports import ROOT
from tests.serving.signatures import CURVES, KeyPair, make_key, openssl


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyPair]:
    """A key on each curve."""
    return {curve: make_key(tmp_path_factory.mktemp("keys"), curve) for curve in CURVES}


def test_a_file_may_hold_several_keys(keys: dict[str, KeyPair], tmp_path: Path) -> None:
    whole = tmp_path / "keys.pem"
    whole.write_bytes(b"# the team's\n" + b"\n".join(pair.public.read_bytes() for pair in keys.values()))
    single = [key.id for pair in keys.values() for key in read_trusted_keys([pair.public])]
    assert [key.id for key in read_trusted_keys([whole])] == single
    assert len(set(single)) == len(CURVES)


def test_the_settings_take_paths_separated_by_commas(keys: dict[str, KeyPair]) -> None:
    paths = tuple(pair.public for pair in keys.values())
    text = ", ".join(map(str, paths))
    assert Settings.read({"GOLDFISH_TRUSTED_KEYS": text}).trusted_keys == paths


def rsa(path: Path) -> None:
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", f"{path}.pem")
    openssl("pkey", "-in", f"{path}.pem", "-pubout", "-out", str(path))


def ed25519(path: Path) -> None:
    openssl("genpkey", "-algorithm", "ED25519", "-out", f"{path}.pem")
    openssl("pkey", "-in", f"{path}.pem", "-pubout", "-out", str(path))


def other_curve(path: Path) -> None:
    make_key(path.parent, "secp256k1").public.rename(path)


def private(path: Path) -> None:
    make_key(path.parent).private.rename(path)


def certificate(path: Path) -> None:
    path.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


def damaged(path: Path) -> None:
    text = make_key(path.parent).public.read_text()
    path.write_text(text.replace("MFk", "MFj"))


def no_key(path: Path) -> None:
    path.write_text("ssh-ed25519 AAAA me\n")


def huge(path: Path) -> None:
    path.write_bytes(b"#" * (MAX_KEY_FILE_BYTES + 1))


def missing(path: Path) -> None:
    """No file is written."""


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (rsa, "a key for RSA, and only ECDSA is supported"),
        (ed25519, "a key for Ed25519, and only ECDSA is supported"),
        (other_curve, "on the curve secp256k1, and P-256, P-384 and P-521 are supported"),
        (private, "a block 'EC PRIVATE KEY' and not only public keys"),
        (certificate, "a block 'CERTIFICATE'"),
        (damaged, "damaged or of an unknown kind"),
        (no_key, "no key in PEM format"),
        (huge, "65,537 bytes, and 65,536 are allowed"),
        (missing, "there is no such file"),
        (Path.mkdir, "Is a directory"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, write: "object", words: str) -> None:
    path = tmp_path / "key.pub"
    assert callable(write)
    write(path)
    with pytest.raises(TrustedKeyInvalid, match=words):
        read_trusted_keys([path])
    with pytest.raises(SettingsInvalid, match=words) as caught:
        Settings.read({"GOLDFISH_TRUSTED_KEYS": str(path)})
    assert f"GOLDFISH_TRUSTED_KEYS has {str(path)!r}" in str(caught.value)


def test_without_the_package_only_a_server_with_keys_stops(keys: dict[str, KeyPair]) -> None:
    code = f"""
import sys
sys.modules["cryptography"] = None
import serving.artifact.release, serving.pull
from serving.config import Settings, SettingsInvalid
Settings.read({{}})
try:
    Settings.read({{"GOLDFISH_TRUSTED_KEYS": {str(keys[CURVES[0]].public)!r}}})
except SettingsInvalid as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "without the package cryptography" in done.stdout
    assert "requirements/follow.txt" in done.stdout
