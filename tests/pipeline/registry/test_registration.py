"""A bundle is registered once, byte for byte, and only if its gate passed; also by concurrent processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.environment import Environment
from pipeline.errors import GateRefused, InputMissing, RegistryUnavailable, VersionMissing
from pipeline.registry.mlflow_files import downloaded_bundle, verify_files
from pipeline.registry.mlflow_registry import Registry
from pipeline.registry.registration import ensure_registered
from serving.errors import DigestMismatch
from tests.pipeline.candidate_bundle import LAYOUT, write_candidate
from tests.pipeline.projects import ROOT, Project
from tests.serving.registries import flipped_byte, mlflow_server

REGISTER = [sys.executable, "-m", "pipeline.stages.register", "tiny"]


def versions(registry: Registry) -> list[int]:
    return sorted(int(entry.version) for entry in registry.client.search_model_versions("name = 'tiny'"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real MLflow server on loopback that stores the artifacts itself."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as address:
        yield address


def test_once_for_each_digest(project: Project, registry: Registry) -> None:
    first = write_candidate()
    assert ensure_registered(LAYOUT, registry).number == 1
    assert ensure_registered(LAYOUT, registry).number == 1
    second = write_candidate(steepness=5.0)
    assert first.digest != second.digest
    assert ensure_registered(LAYOUT, registry).number == 2
    assert versions(registry) == [1, 2]


def test_the_files_are_the_bytes_of_the_bundle(project: Project, registry: Registry) -> None:
    bundle = write_candidate()
    ensure_registered(LAYOUT, registry)
    with downloaded_bundle(registry, registry.get_by_digest("tiny", bundle.digest)) as downloaded:
        downloaded.verify()
    assert downloaded.digest == bundle.digest
    assert downloaded.manifest == bundle.manifest


def test_all_that_is_known_goes_with_it(project: Project, registry: Registry) -> None:
    bundle = write_candidate()
    version = ensure_registered(LAYOUT, registry)
    assert version.run_id is not None
    run = registry.client.get_run(version.run_id)
    assert run.data.params["build.training.epochs"] == "1"
    assert run.data.metrics == {"top1": 0.9, "agreement.eager": 1.0, "total_ms_p50": 1.5}
    assert run.data.tags["digest"] == bundle.digest
    assert run.data.tags["git_commit"] == project.succeed("git", "rev-parse", "HEAD").strip()
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    assert [item.path for item in registry.client.list_artifacts(version.run_id)] == ["report"]
    assert run.info.status == "FINISHED"


def test_a_refused_bundle_is_not_registered(project: Project, registry: Registry) -> None:
    write_candidate(passed=False)
    with pytest.raises(GateRefused, match=r"top1: 0\.9000 is below 0\.95"):
        ensure_registered(LAYOUT, registry)
    assert versions(registry) == []


def test_another_bundle_than_measured_is_not_registered(project: Project, registry: Registry) -> None:
    measured = write_candidate()
    metrics = LAYOUT.metrics.read_bytes()
    write_candidate(steepness=5.0)
    LAYOUT.metrics.write_bytes(metrics)
    assert measured.digest in metrics.decode()
    with pytest.raises(GateRefused, match="measures another one"):
        ensure_registered(LAYOUT, registry)


def test_a_changed_bundle_is_not_registered(project: Project, registry: Registry) -> None:
    bundle = write_candidate()
    with (
        flipped_byte(bundle.path / "serving/model.onnx"),
        pytest.raises(DigestMismatch, match=r"model\.onnx"),
    ):
        ensure_registered(LAYOUT, registry)
    assert versions(registry) == []


def test_without_an_evaluation_nothing_is_registered(project: Project, registry: Registry) -> None:
    write_candidate()
    LAYOUT.metrics.unlink()
    with pytest.raises(InputMissing, match=r"metrics\.json"):
        ensure_registered(LAYOUT, registry)


def test_bytecode_beside_the_code_is_not_part_of_it(project: Project, registry: Registry) -> None:
    bundle = write_candidate()
    (bundle.path / "code/__pycache__").mkdir(parents=True)
    (bundle.path / "code/__pycache__/x.pyc").write_bytes(b"bytecode")
    ensure_registered(LAYOUT, registry)
    with downloaded_bundle(registry, registry.get_by_digest("tiny", bundle.digest)) as downloaded:
        assert not list(downloaded.path.rglob("*.pyc"))


def test_processes_that_race_make_one_version(project: Project) -> None:
    write_candidate()
    # Without a database: the processes also compete to create MLflow's tables.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": ""}
    processes = [
        subprocess.Popen(
            REGISTER, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert all("version 1 " in output for output in outputs)
    assert versions(Registry.connect(Environment(None, project.root, experiment=False))) == [1]


def test_a_race_without_a_lock_leaves_one_version(project: Project, server: str) -> None:
    bundle = write_candidate()
    environment = Environment(server, project.root, experiment=False)
    # A server has no file lock: each process adds a version, and all but the lowest are deleted again.
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ensure_registered(LAYOUT, Registry.connect(environment)), range(4)))
    registry = Registry.connect(environment)
    assert len(versions(registry)) == 1
    assert {version.digest for version in found} == {bundle.digest}
    assert {version.number for version in found} == set(versions(registry))
    verify_files(registry, registry.get_by_digest("tiny", bundle.digest))


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/nowhere/all.db", "gopher://x"])
def test_a_registry_that_does_not_answer_is_named(uri: str, project: Project) -> None:
    with pytest.raises(RegistryUnavailable, match=uri.split("/")[-1]):
        Registry.connect(Environment(uri, project.root, experiment=False))


def test_the_stage_says_that_the_registry_is_down(project: Project) -> None:
    write_candidate()
    done = project.run(*REGISTER, PYTHONPATH=str(ROOT), MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert not LAYOUT.registration_record.exists()


def test_what_is_not_there_is_named(project: Project, registry: Registry) -> None:
    with pytest.raises(VersionMissing, match="digest abc"):
        registry.get_by_digest("tiny", "abc")
    with pytest.raises(VersionMissing, match="version 7"):
        registry.get_by_number("tiny", 7)
    # A version without a digest cannot be identified.
    registry.client.create_registered_model("tiny")
    by_hand = registry.client.create_model_version("tiny", "somewhere")
    with pytest.raises(VersionMissing, match="version 1 that has a digest"):
        registry.get_by_number("tiny", int(by_hand.version))
    assert registry.champion("tiny") is None


def test_paths_are_those_of_the_project(project: Project, registry: Registry) -> None:
    write_candidate()
    ensure_registered(LAYOUT, registry)
    assert {path.name for path in Path.cwd().iterdir()} >= {"mlflow.db", "mlartifacts"}


def test_an_experiment_that_was_deleted_comes_back(project: Project, registry: Registry) -> None:
    write_candidate()
    ensure_registered(LAYOUT, registry)
    registry.client.delete_experiment(
        registry.client.search_experiments(filter_string="name = 'tiny'")[0].experiment_id
    )
    write_candidate(steepness=5.0)
    assert ensure_registered(LAYOUT, registry).number == 2
