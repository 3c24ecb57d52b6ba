"""`repair` corrects registry, alias and pin; for the rest it prints the reason and what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.environment import Environment
from pipeline.project.repair import RepairStatus, repair
from pipeline.registry.mlflow_files import artifact_uri, verify_files
from pipeline.registry.mlflow_registry import RegisteredVersion, Registry
from pipeline.registry.promotion import promote
from pipeline.registry.registration import ensure_registered
from serving.artifact.pin import Pin
from tests.pipeline.candidate_bundle import LAYOUT, write_candidate
from tests.pipeline.projects import Project
from tests.pipeline.registry.test_registry_survives import version_folder


@pytest.fixture
def pinned(project: Project, registry: Registry) -> RegisteredVersion:
    """Version 1 is pinned and committed; its bundle is in the workspace."""
    write_candidate()
    version = ensure_registered(LAYOUT, registry)
    promote(LAYOUT, registry, version)
    project.commit("pinned")
    return version


def repaired() -> dict[str, str]:
    """The last line that `repair` prints for each state."""
    return {str(finding.status): str(finding) for finding in repair(LAYOUT, Environment.read())}


def only_ok() -> bool:
    return set(repaired()) == {RepairStatus.OK}


def test_nothing_is_mended_where_nothing_is_wrong(pinned: RegisteredVersion) -> None:
    assert only_ok()


@pytest.mark.parametrize("moved", [False, True])
def test_a_copy_uses_its_own_files(
    project: Project, pinned: RegisteredVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    copy = tmp_path / "a copy"
    shutil.copytree(project.root, copy)
    if moved:
        shutil.rmtree(project.root / "mlartifacts")
    monkeypatch.chdir(copy)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "mlflow.db no longer leads to" in repaired()[RepairStatus.REPAIRED]
    assert only_ok()
    write_candidate(steepness=5.0)
    registry = Registry.connect(Environment.read())
    added = ensure_registered(LAYOUT, registry)
    for version in (pinned, added):
        verify_files(registry, version)
        assert artifact_uri(registry, version).startswith((copy / "mlartifacts").as_uri())
    assert len(list((project.root / "mlartifacts").glob("models/*"))) == (0 if moved else 1)


def test_what_a_copy_has_written_into_the_original_is_brought_home(
    project: Project, pinned: RegisteredVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(project.root, copy, ignore=shutil.ignore_patterns("mlartifacts", "models"))
    monkeypatch.chdir(copy)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    findings = [str(finding) for finding in repair(LAYOUT, Environment.read())]
    assert "mended     models:/tiny/1: files put back from the old folder" in findings
    assert only_ok()


@pytest.mark.parametrize("lost", ["everything", "a byte"])
def test_files_come_back_from_the_workspace(project: Project, pinned: RegisteredVersion, lost: str) -> None:
    if lost == "everything":
        shutil.rmtree("mlartifacts")
    else:
        graph = version_folder(project) / "serving/model.onnx"
        graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    assert "models:/tiny/1: files put back from the workspace" in repaired()[RepairStatus.REPAIRED]
    assert only_ok()


def test_files_come_back_from_dvcs_cache(
    project: Project, pinned: RegisteredVersion, registry: Registry
) -> None:
    """The version is no longer in the workspace, but in DVC's cache."""
    project.succeed("dvc", "init", "-q")
    (project.root / ".gitignore").unlink()
    project.succeed("dvc", "add", "-q", str(LAYOUT.bundle))
    write_candidate(steepness=5.0)
    ensure_registered(LAYOUT, registry)
    shutil.rmtree("mlartifacts")
    findings = [str(finding) for finding in repair(LAYOUT, Environment.read())]
    assert "mended     models:/tiny/1: files put back from DVC's cache" in findings
    assert "mended     models:/tiny/2: files put back from the workspace" in findings
    assert only_ok()


def test_bytes_that_nobody_has_are_said(
    project: Project, pinned: RegisteredVersion, registry: Registry
) -> None:
    project.succeed("dvc", "init", "-q")
    write_candidate(steepness=5.0)
    shutil.rmtree("mlartifacts")
    said = repaired()[RepairStatus.NOT_REPAIRED]
    assert said.startswith(
        "NOT mended models:/tiny/1 is not what was registered: there are no files at file:"
    )
    assert "`dvc fetch --all-commits models/tiny/bundle`" in said
    done = project.pipeline("repair", "tiny", PYTHONPATH=str(Path(__file__).parents[3]))
    assert (done.returncode, done.stderr) == (1, "")
    assert said in done.stdout


def test_the_alias_follows_the_pin(pinned: RegisteredVersion, registry: Registry) -> None:
    write_candidate(steepness=5.0)
    registry.set_alias(ensure_registered(LAYOUT, registry), "champion")
    assert "the alias champion is version 1, no longer version 2" in repaired()[RepairStatus.REPAIRED]
    registry.client.delete_registered_model_alias("tiny", "champion")
    assert "the alias champion is version 1, no longer nothing" in repaired()[RepairStatus.REPAIRED]
    assert only_ok()


def test_a_lost_registry_gets_the_pinned_version_again(project: Project, database: bytes) -> None:
    bundle = write_candidate()
    LAYOUT.pin.parent.mkdir()
    LAYOUT.pin.write_bytes(Pin("tiny", 7, bundle.digest).to_bytes())
    (project.root / "mlflow.db").write_bytes(database)
    findings = [str(finding) for finding in repair(LAYOUT, Environment.read())]
    assert "mended     models:/tiny/1: registered from models/tiny/bundle, as it was pinned" in findings
    assert "mended     models:/tiny/1 is noted as the version 7 of the pin" in findings
    assert only_ok()


def test_a_pin_that_nobody_has_is_said(pinned: RegisteredVersion) -> None:
    LAYOUT.pin.write_bytes(Pin("tiny", 7, "0" * 64).to_bytes())
    assert (
        "`python -m pipeline fetch tiny` brings or builds the bundle" in repaired()[RepairStatus.NOT_REPAIRED]
    )


@pytest.mark.parametrize(
    "break_it",
    [lambda pin: pin.unlink(), lambda pin: pin.write_text("{"), lambda pin: pin.write_bytes(b"\r\n")],
)
def test_a_pin_that_cannot_be_read_is_what_git_has(
    pinned: RegisteredVersion, break_it: Callable[[Path], object]
) -> None:
    break_it(LAYOUT.pin)
    assert "version 1 again, as commit" in repaired()[RepairStatus.REPAIRED]
    assert Pin.read(LAYOUT.pin).digest == pinned.digest
    assert only_ok()


def test_a_pin_in_conflict_is_for_somebody_to_decide(
    project: Project, pinned: RegisteredVersion, registry: Registry
) -> None:
    project.succeed("git", "switch", "-q", "-c", "other")
    for steepness, branch in ((5.0, "other"), (6.0, "main")):
        project.succeed("git", "switch", "-q", branch)
        write_candidate(steepness)
        promote(LAYOUT, registry, ensure_registered(LAYOUT, registry))
        project.commit(branch)
    assert project.run("git", "merge", "-q", "other").returncode == 1
    before = LAYOUT.pin.read_bytes()
    assert b"<<<<<<<" in before
    assert "is in conflict: `git checkout --ours -- pins/tiny.json`" in repaired()[RepairStatus.NOT_REPAIRED]
    assert LAYOUT.pin.read_bytes() == before


def test_an_uncommitted_pin_of_a_withdrawn_version_is_said(
    project: Project, pinned: RegisteredVersion, registry: Registry
) -> None:
    write_candidate(steepness=5.0)
    second = promote(LAYOUT, registry, ensure_registered(LAYOUT, registry))
    project.commit("second")
    promote(LAYOUT, registry, pinned)
    project.commit("back")
    LAYOUT.pin.write_bytes(second.to_bytes())
    said = " ".join(str(finding) for finding in repair(LAYOUT, Environment.read()))
    assert "names version 2, which was pinned before and replaced by version 1: `git checkout" in said
    assert Pin.read(LAYOUT.pin) == second
