"""The registry after copies, moves, lost files, conflicting variables and full disks."""

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image

from pipeline.command_line import run_and_report
from pipeline.environment import Environment
from pipeline.errors import (
    RegistryMoved,
    RegistryUnavailable,
    RegistryVariablesConflict,
    TemporaryFolderFull,
    VersionDamaged,
)
from pipeline.evaluation.batch_prediction import predict_folder
from pipeline.evaluation.pinned_comparison import compare_with_pinned
from pipeline.registry.embedded_database import EmbeddedDatabase
from pipeline.registry.mlflow_files import artifact_uri, verify_files
from pipeline.registry.mlflow_registry import Registry
from pipeline.registry.promotion import promote
from pipeline.registry.registration import ensure_registered
from serving.model.predictor import Predictor
from tests.pipeline.candidate_bundle import LAYOUT, write_candidate
from tests.pipeline.projects import Project


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def version_folder(project: Project, number: int = 1) -> Path:
    """Where the registry has the files of a version."""
    folders = sorted(project.root.glob("mlartifacts/models/*"), key=lambda path: path.stat().st_mtime_ns)
    return folders[number - 1] / "artifacts"


@pytest.mark.parametrize("moved", [False, True])
def test_a_copied_or_moved_project_writes_nothing_into_the_old_folder(
    project: Project, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    write_candidate()
    ensure_registered(LAYOUT, registry)
    copy = tmp_path / "copy of it"
    if moved:
        monkeypatch.chdir(tmp_path)
        project.root.rename(copy)
    else:
        shutil.copytree(project.root, copy)
    monkeypatch.chdir(copy)
    # MLflow sets it for the whole process.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    write_candidate(steepness=5.0)
    before = files_in(project.root)
    for environment in (
        Environment.read(),
        Environment(f"sqlite:///{copy}/mlflow.db", copy, experiment=False),
        Environment("sqlite:///mlflow.db", copy, experiment=False),
    ):
        with pytest.raises(RegistryMoved, match=r"copied or moved.*project/mlartifacts.*pipeline repair"):
            ensure_registered(LAYOUT, Registry.connect(environment))
    assert files_in(project.root) == before
    assert project.root.exists() is not moved


def test_a_registry_of_another_folder_keeps_its_files_there(
    project: Project, tmp_path: Path, database: bytes
) -> None:
    """What several projects share by MLFLOW_TRACKING_URI is one registry, whoever registers first."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "mlflow.db").write_bytes(database)
    write_candidate()
    ensure_registered(
        LAYOUT, Registry.connect(Environment(f"sqlite:///{shared}/mlflow.db", shared, experiment=False))
    )
    assert list(shared.glob("mlartifacts/models/*"))
    assert not Path("mlartifacts").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_REGISTRY_URI", "sqlite:///other.db"),
        ("MLFLOW_REGISTRY_URI", "http://user:secret@registry.example.com"),
        ("MLFLOW_WORKSPACE", "team"),
        ("MLFLOW_WORKSPACE_STORE_URI", "sqlite:///other.db"),
        ("MLFLOW_ENABLE_WORKSPACES", "true"),
    ],
)
def test_a_variable_that_leads_elsewhere_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(
        RegistryVariablesConflict, match=rf"{name} would .*mlflow\.db.*MLFLOW_TRACKING_URI"
    ) as raised:
        Registry.connect(Environment.read())
    assert "secret" not in str(raised.value)
    assert not Path("mlflow.db").exists()


def test_variables_of_other_work_change_nothing(
    project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{project.root}/mlflow.db"
    for name, value in {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_REGISTRY_URI": uri,
        "MLFLOW_EXPERIMENT_ID": "77",
        "MLFLOW_EXPERIMENT_NAME": "mine",
        "MLFLOW_RUN_ID": "0" * 32,
        "MLFLOW_ACTIVE_MODEL_ID": "m-1",
        "MLFLOW_ARTIFACT_URI": "/nowhere",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_WORKSPACE": "default",
        "MLFLOW_ENABLE_WORKSPACES": "false",
    }.items():
        monkeypatch.setenv(name, value)
    write_candidate()
    connected = Registry.connect(Environment.read())
    version = ensure_registered(LAYOUT, connected)
    verify_files(connected, version)
    assert version.run_id is not None
    run = registry.client.get_run(version.run_id)
    assert run.data.metrics["top1"] == 0.9
    assert registry.client.get_experiment(run.info.experiment_id).name == "tiny"
    assert artifact_uri(registry, version).startswith((project.root / "mlartifacts").as_uri())


def test_an_experiment_in_a_copy_asks_the_projects_registry(
    project: Project, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dvc exp run --temp` and the queue run in a folder below .dvc/tmp; DVC says whose experiment it is."""
    write_candidate()
    version = ensure_registered(LAYOUT, registry)
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("DVC_EXP_NAME", "trial")
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    for uri in ("", "sqlite:///mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert Registry.connect(Environment.read()).get_by_digest("tiny", version.digest) == version
    assert list(elsewhere.iterdir()) == []


def test_the_description_is_the_one_of_params(project: Project, registry: Registry) -> None:
    write_candidate()
    ensure_registered(LAYOUT, registry)
    params = project.root / "params.yaml"
    for text in ("Another text.", "And another."):
        params.write_text(
            params.read_text().replace("A model for tests.", text).replace("Another text.", text)
        )
        ensure_registered(LAYOUT, registry)
        assert registry.client.get_registered_model("tiny").description == text


@pytest.mark.parametrize("lost", ["everything", "a file", "a byte of the manifest", "nothing, one too many"])
def test_lost_files_are_put_back_by_registering(project: Project, registry: Registry, lost: str) -> None:
    write_candidate()
    version = ensure_registered(LAYOUT, registry)
    folder = version_folder(project)
    if lost == "everything":
        shutil.rmtree(folder.parent)
    elif lost == "a file":
        (folder / "serving/labels.json").unlink()
    elif lost == "a byte of the manifest":
        (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes()[:-1])
    else:
        (folder / "serving/extra.txt").write_text("extra")
    with pytest.raises(VersionDamaged, match=r"models:/tiny/1 is not .*`python -m pipeline repair tiny`"):
        verify_files(registry, version)
    assert ensure_registered(LAYOUT, registry) == version
    verify_files(registry, version)


@pytest.mark.parametrize("cause", ["lost", "changed", "copied", "diverted", "not there"])
def test_evaluation_goes_on_without_the_pinned_version(
    project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    write_candidate()
    version = ensure_registered(LAYOUT, registry)
    promote(LAYOUT, registry, version)
    predictor = Predictor.open(write_candidate(steepness=5.0).path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9" if cause == "not there" else "")
    if cause == "lost":
        shutil.rmtree("mlartifacts")
    elif cause == "changed":
        with (version_folder(project) / "serving/model.onnx").open("ab") as file:
            file.write(b"x")
    elif cause == "copied":
        EmbeddedDatabase(project.root / "mlflow.db").relocate(project.root, Path("/somewhere/else"))
    elif cause == "diverted":
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", "sqlite:///other.db")
    comparison, said = compare_with_pinned(
        LAYOUT, predictor, predict_folder(predictor, image_folder(predictor))
    )
    assert comparison is None
    assert said.startswith("NOT compared with the pinned version: ")


def image_folder(predictor: Predictor) -> Path:
    """One image of each class."""
    for label in predictor.labels:
        path = LAYOUT.test / label.id / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(path)
    return LAYOUT.test


def test_a_version_without_files_says_where_they_should_be(project: Project, registry: Registry) -> None:
    write_candidate()
    version = ensure_registered(LAYOUT, registry)
    shutil.rmtree("mlartifacts")
    with pytest.raises(VersionDamaged, match=r"there are no files at file:.*/mlartifacts/models/") as raised:
        verify_files(registry, version)
    assert "make run" not in str(raised.value)


def test_a_full_temporary_folder_is_named(
    project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    write_candidate()
    version = ensure_registered(LAYOUT, registry)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(TemporaryFolderFull, match=rf"temporary files in {tmp_path}, .*TMPDIR") as raised:
            verify_files(registry, version)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_without_a_path_says_where_room_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail() -> None:
        if wrapped:
            raise RegistryUnavailable("sqlite:///mlflow.db", "no answer") from full
        raise full

    assert run_and_report(fail) == 1
    said = capsys.readouterr().err
    for words in (f"{tmp_path} has ", f"{Path.cwd()} has ", "MB free; TMPDIR names another folder"):
        assert words in said


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts connections and never says a word; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listening.accept()[0])
                except OSError:
                    return

        thread = Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        for connection in held:
            connection.close()


@pytest.mark.parametrize("silent", [False, True])
def test_a_database_server_that_cannot_be_reached_is_told_in_seconds(
    project: Project, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setattr("pipeline.registry.mlflow_connection.CONNECT_TIMEOUT", 2)
    with silent_server() as port:
        uri = f"postgresql+psycopg://user:secret@127.0.0.1:{port if silent else 9}/mlflow"
        begin = time.monotonic()
        with pytest.raises(RegistryUnavailable, match=r"postgresql.*127\.0\.0\.1.*does not answer") as raised:
            Registry.connect(Environment(uri, project.root, experiment=False))
        assert time.monotonic() - begin < 8
    assert "secret" not in str(raised.value)


def test_a_database_without_its_driver_is_told(project: Project) -> None:
    with pytest.raises(RegistryUnavailable, match="No module named"):
        Registry.connect(Environment("mysql+pymysql://127.0.0.1/x", project.root, experiment=False))
