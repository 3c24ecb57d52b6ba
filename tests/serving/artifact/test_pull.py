"""The pinned bundle is pulled from a real MLflow registry: every byte of it, or nothing at all."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from serving.artifact.bundle import Bundle
from serving.artifact.download import pull_bundle
from serving.artifact.manifest import GRAPH, LABELS, MANIFEST
from serving.artifact.pin import Pin
from serving.artifact.registry import server as registry_client
from serving.artifact.registry.errors import VersionDamaged, VersionMissing
from serving.artifact.release import find_release
from serving.artifact.signature import SignatureInvalid
from serving.artifact.signature_check import check_signature
from serving.config import Settings
from serving.errors import ModelMismatch
from serving.model.predictor import Predictor
from serving.pull import main
from tests.repo.imports import ROOT
from tests.serving.registries import (
    PIPELINE_FILES,
    UNUSED_ADDRESS,
    RegisteredBundle,
    connect,
    expect_no_leftovers,
    flipped_byte,
    register_bundle,
)
from tests.serving.signatures import KeyPair, make_key, sign_folder


def files(folder: Path) -> set[str]:
    """Relative paths of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_pulled_bundle_answers(registered: RegisteredBundle, to: Path) -> None:
    assert pull_bundle(registered.pin, registered.uri, to) == to
    predictor = Predictor.open(to)
    assert predictor.check_golden() <= 0.005
    assert predictor.bundle.digest == registered.pin.digest


def test_a_bundle_of_format_1_is_registered_and_pulled(
    database: RegisteredBundle, to: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(database.files.parents[3])
    old = register_bundle(database.uri, tmp_path, "old", bundle_format=1)
    pull_bundle(old.pin, old.uri, to, whole=True)
    pulled = Bundle.open(to)
    pulled.verify()
    assert pulled.manifest.format == 1
    assert pulled.digest == old.pin.digest


@pytest.mark.parametrize("whole", [False, True])
def test_only_what_serves_is_pulled_unless_whole(registered: RegisteredBundle, to: Path, whole: bool) -> None:
    pull_bundle(registered.pin, registered.uri, to, whole)
    Bundle.open(to).verify(whole=whole)
    assert files(to) & set(PIPELINE_FILES) == (set(PIPELINE_FILES) if whole else set())
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_whoever_may_read_the_folder_may_read_the_bundle(database: RegisteredBundle, to: Path) -> None:
    umask = os.umask(0o022)
    try:
        pull_bundle(database.pin, database.uri, to)
    finally:
        os.umask(umask)
    assert [oct(path.stat().st_mode)[-3:] for path in (to, to / MANIFEST)] == ["755", "644"]


def test_the_number_is_only_a_label(registered: RegisteredBundle, to: Path) -> None:
    pull_bundle(replace(registered.pin, version=42), registered.uri, to)
    Bundle.open(to).verify(whole=False)


@pytest.mark.parametrize("name", ["tiny", "huge"])
def test_a_version_that_is_missing_is_named(registered: RegisteredBundle, to: Path, name: str) -> None:
    with (
        expect_no_leftovers(to),
        pytest.raises(VersionMissing, match=f"no version of {name} with digest 000"),
    ):
        pull_bundle(Pin(name, 1, "0" * 64), registered.uri, to)


def test_a_deleted_version_is_passed_over_and_the_first_of_several_taken(
    registered: RegisteredBundle, to: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With one version per page, a server must be asked several times.
    monkeypatch.setattr(registry_client, "PAGE_SIZE", 1)
    monkeypatch.chdir(registered.files.parents[3])
    client = connect(registered.uri).client
    twice = register_bundle(registered.uri, Path.cwd(), "twice").pin
    source = str(client.get_model_version("twice", "1").source)
    for _ in range(2):
        model = source.removeprefix("models:/")
        client.create_model_version("twice", source, tags={"digest": twice.digest}, model_id=model)
    client.delete_model_version("twice", "1")
    log = io.StringIO()
    pull_bundle(twice, registered.uri, to, log=log)
    assert "twice version 2 at" in log.getvalue()
    for number in "23":
        client.delete_model_version("twice", number)
    with pytest.raises(VersionMissing):
        pull_bundle(twice, registered.uri, tmp_path / "another")


@pytest.mark.parametrize("name", [MANIFEST, GRAPH, LABELS])
def test_a_flipped_byte_is_refused(registered: RegisteredBundle, to: Path, name: str) -> None:
    with (
        flipped_byte(registered.files / name),
        expect_no_leftovers(to),
        pytest.raises(VersionDamaged, match=f"{name} should"),
    ):
        pull_bundle(registered.pin, registered.uri, to)


@pytest.mark.parametrize("name", [MANIFEST, GRAPH])
@pytest.mark.parametrize("extra", [None, b"x" * 2**20])
def test_a_missing_or_longer_file_is_refused(
    registered: RegisteredBundle, to: Path, name: str, extra: bytes | None
) -> None:
    path = registered.files / name
    whole = path.read_bytes()
    path.unlink() if extra is None else path.write_bytes(whole + extra)
    reason = "is not there" if extra is None else "has more than"
    try:
        with expect_no_leftovers(to), pytest.raises(VersionDamaged, match=f"{name} {reason}"):
            pull_bundle(registered.pin, registered.uri, to)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_there_is_not_pulled_again(database: RegisteredBundle, to: Path, whole: bool) -> None:
    pull_bundle(database.pin, database.uri, to, whole)
    inode = to.stat().st_ino
    log = io.StringIO()
    # The registry is not contacted: nothing listens at this address.
    assert pull_bundle(database.pin, UNUSED_ADDRESS, to, log=log) == to
    assert log.getvalue() == f"tiny {database.pin.digest[:12]} is there already\n"
    pull_bundle(database.pin, database.uri, to, whole=True)
    assert (to.stat().st_ino == inode) == whole
    Bundle.open(to).verify()


def test_a_manifest_of_another_model_is_refused(registered: RegisteredBundle, to: Path) -> None:
    # The pin was written by hand, and the version was registered under another name.
    with (
        expect_no_leftovers(to),
        pytest.raises(ModelMismatch, match=r"of the model 'tiny', and the pin .* huge"),
    ):
        pull_bundle(replace(registered.pin, name="huge"), register_under_other_name("huge", registered), to)


def register_under_other_name(name: str, registered: RegisteredBundle) -> str:
    """Registers the same files under another name; returns the registry's address."""
    client = connect(registered.uri).client
    with suppress(MlflowException):
        client.create_registered_model(name)
    source = str(client.get_model_version("tiny", "1").source)
    model = source.removeprefix("models:/")
    client.create_model_version(name, source, tags={"digest": registered.pin.digest}, model_id=model)
    return registered.uri


def test_the_command_prints_the_path(
    database: RegisteredBundle,
    pins: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    assert main(["tiny"]) == 0
    out, error = capsys.readouterr()
    assert out == f"models/tiny/pulled/{database.pin.digest[:12]}\n"
    Bundle.open(tmp_path / out.strip()).verify(whole=False)
    size = sum(
        file.size for file in Bundle.open(database.files).manifest.files.values() if file.role == "serving"
    )
    assert error == f"pulling tiny version 1 at {database.uri}: {size:,} bytes in 10 files\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["tiny", "--registry", UNUSED_ADDRESS], "Connection refused"),
        (["tiny", "--registry", "sqlite:///nowhere.db"], "unable to open"),
        (["tiny", "--to", "pins"], "no bundle"),
        (["tiny", "--to", "/proc/bundle"], "No such file"),
        ([], r"digits\.json: nothing is pinned"),
    ],
)
@pytest.mark.usefixtures("short_timeouts", "pins")
def test_the_command_reports_errors(
    database: RegisteredBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    assert main(arguments) == 1
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("error: ")
    assert re.search(reason, line)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """The trusted key."""
    return make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture
def signed_run(registered: RegisteredBundle, key: KeyPair) -> Iterator[Path]:
    """The signature in either kind of registry, where promotion puts it; removed after the test."""
    client = connect(registered.uri).client
    run = str(client.get_model_version("tiny", "1").run_id)
    data = sign_folder(registered.files, key)
    file = registered.files.with_name("model.sig")
    file.write_bytes(data)
    client.log_artifact(run, str(file))
    stored = next(registered.files.parents[2].glob(f"**/{run}/artifacts/model.sig"))
    yield stored
    stored.unlink()


def test_the_registry_has_the_signature_of_a_pin_without_one(
    registered: RegisteredBundle, signed_run: Path, key: KeyPair, tmp_path: Path
) -> None:
    settings = Settings(
        pins=tmp_path, models_folder=tmp_path, registry=registered.uri, trusted_keys=(key.public,)
    )
    (tmp_path / "tiny.json").write_bytes(registered.pin.to_bytes())
    release = find_release(settings, "tiny")
    assert release.signature is not None
    assert release.signature.data == signed_run.read_bytes()
    signed_run.write_bytes(b"{}")
    with pytest.raises(SignatureInvalid, match=r"model\.sig of tiny .* in the registry"):
        check_signature(settings, release.bundle, "tiny")


def test_a_version_without_a_signature_is_not_pulled(
    registered: RegisteredBundle,
    key: KeyPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "tiny.json").write_bytes(registered.pin.to_bytes())
    monkeypatch.setenv("GOLDFISH_TRUSTED_KEYS", str(key.public))
    to = tmp_path / "to/bundle"
    arguments = ["tiny", "--pins", str(tmp_path), "--registry", registered.uri, "--to", str(to)]
    assert main(arguments) == 1
    assert "the version in the registry has no model.sig" in capsys.readouterr().err
    assert list(to.parent.iterdir()) == []
    (tmp_path / "tiny.sig").write_bytes(sign_folder(registered.files, key))
    assert main(arguments) == 0
    Bundle.open(to).verify(whole=False)
    # What is there already is checked again.
    (tmp_path / "tiny.sig").unlink()
    assert main(arguments) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_percents(registered: RegisteredBundle, to: Path) -> None:
    log = Terminal()
    pull_bundle(registered.pin, registered.uri, to, log=log)
    percents = [int(part.strip(" %\n")) for part in log.getvalue().split("\r")[1:]]
    assert percents == sorted(set(percents))
    assert percents[-1] == 100
    assert log.getvalue().endswith("100 %\n")


def test_pulling_needs_no_mlflow() -> None:
    code = "import sys, serving.pull; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(done.stdout.split()) & {"mlflow", "requests", "dvc", "pandas", "tensorflow", "sqlalchemy"}
