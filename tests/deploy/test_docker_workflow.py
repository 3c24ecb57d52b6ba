"""Runs docker.yml: every event builds and tests the image, only a committed pin is published."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from serving.artifact.pin import Pin
from tests.deploy.engine import docker, environment
from tests.deploy.registry import ImageRegistry, image_registry
from tests.pipeline.projects import ROOT, Project, copy_of_the_working_tree, tiny_project
from tests.serving.registries import mlflow_server, register_bundle
from tests.workflows.expressions import Context, holds
from tests.workflows.runner import Event, Runner

PIN = Path("pins/colours.json")
REPOSITORY = "owner/goldfish"
IMAGES = ("goldfish-colours", "goldfish-tiny")
MAIN, TAG = Event("push", "refs/heads/main"), Event("push", "refs/tags/v1")
# Slow: each builds an image, one of them also a model.
slow = pytest.mark.slow
FORK = Event("pull_request", "refs/pull/1/merge", fork=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    """The registry that images are pushed to."""
    with image_registry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Pin]]:
    """An MLflow server with one registered model, and the pin of this model."""
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder) as server:
        yield server, register_bundle(server, folder, "colours", steepness=5.0).pin


@pytest.fixture
def source(tmp_path: Path, tracking: tuple[str, Pin]) -> Project:
    """A repository with the pin of this model and without its bundle."""
    project = copy_of_the_working_tree(tmp_path / "source")
    for pin in (project.root / "pins").iterdir():
        pin.unlink()
    (project.root / PIN).write_bytes(tracking[1].to_bytes())
    project.commit("pinned")
    return project


@pytest.fixture
def runner(source: Project, base: str, images: ImageRegistry, tmp_path: Path) -> Iterator[Runner]:
    """A GitHub runner that can reach a base image and a registry."""
    overrides = {
        "PATH": environment()["PATH"],
        "BASE": base,
        "BUILD_OPTIONS": "--network host",
        "REGISTRY": images.address,
    }

    def forget() -> None:
        docker("image", "rm", "--force", *IMAGES, check=False)

    before = {"publish": forget}
    yield Runner(
        source, tmp_path / "runner", variables={"MODEL": "colours"}, overrides=overrides, before=before
    )
    forget()


@slow
def test_main_publishes_what_was_tried(
    runner: Runner, images: ImageRegistry, tracking: tuple[str, Pin]
) -> None:
    server, pin = tracking
    runner.secrets = {"READ_MLFLOW_TRACKING_URI": server}
    ended = runner.run("docker.yml", MAIN)
    assert ended == {"image": "success", "publish": "success"}, runner.results
    assert [result.name for result in runner.results] == [
        "Have the pinned bundle",
        "Build",
        "Start and ask",
        "Is it the pinned one?",
        "Keep it for the job that publishes",
        "Take over the image that was tried",
        "Push",
    ]
    assert f"digest {pin.digest} in label, /version and pin" in runner.step("Start and ask").output
    tag = f"colours-v{pin.version}-{pin.digest[:8]}"
    digest = images.digest(REPOSITORY, tag)
    published = {"subject-name": f"{images.address}/{REPOSITORY}", "subject-digest": digest}
    attested = [inputs for action, inputs in runner.actions if action == "actions/attest"]
    assert [published.items() <= inputs.items() for inputs in attested] == [True, True]
    (listed,) = [inputs for action, inputs in runner.actions if action == "anchore/sbom-action"]
    assert listed["image"] == IMAGES[0]
    assert listed["output-file"] == attested[1]["sbom-path"]


@slow
def test_a_fork_publishes_the_pinned_bytes_without_secrets(
    runner: Runner, images: ImageRegistry, tmp_path: Path
) -> None:
    """Its runner has no bundle, no registry and no remote: it builds the pinned bundle again."""
    runner.source, runner.variables = tiny_project(tmp_path / "tiny"), {"MODEL": "tiny"}
    runner.source.succeed(sys.executable, "-m", "pipeline", "run", "tiny")
    runner.source.commit("pinned")
    pin = Pin.read(runner.source.root / "pins/tiny.json")
    ended = runner.run("docker.yml", MAIN)
    assert ended == {"image": "success", "publish": "success"}, runner.results
    assert "by way of building it again" in runner.step("Have the pinned bundle").output
    assert images.digest(REPOSITORY, f"tiny-v1-{pin.digest[:8]}")


@slow
def test_a_fork_builds_and_tries_without_secrets(runner: Runner, tmp_path: Path) -> None:
    """The pinned bundle is not available, so a freshly built one stands in for it."""
    runner.source, runner.variables = tiny_project(tmp_path / "tiny"), {"MODEL": "tiny"}
    (runner.source.root / "pins").mkdir(exist_ok=True)
    (runner.source.root / "pins/tiny.json").write_bytes(Pin("tiny", 1, "0" * 64).to_bytes())
    runner.source.commit("a pin of long ago")
    ended = runner.run("docker.yml", FORK)
    assert ended == {"image": "success", "publish": "skipped"}, runner.results
    assert "2 golden images answered as recorded" in runner.step("Start and ask").output
    had = runner.step("Have the pinned bundle").output
    for place in ("workspace and registry: ", "DVC: ", "building it again: "):
        assert place in had
    assert "::warning title=A stand-in::" in runner.step("Say why it will not be published").output


@pytest.mark.parametrize(
    ("event", "pinned", "published"),
    [
        (MAIN, "true", True),
        (MAIN, "false", False),
        # `make push` refuses it, so that a missing release is noticed.
        (TAG, "false", True),
        (Event("push", "refs/heads/main-2"), "true", False),
        (Event("push", "refs/heads/tags"), "true", False),
        (Event("pull_request", "refs/pull/1/merge"), "true", False),
        (FORK, "true", False),
    ],
)
def test_when_it_is_published(event: Event, pinned: str, published: bool) -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/docker.yml").read_text())["jobs"]["publish"]
    needs = Context(image={"result": "success", "outputs": {"pinned": pinned}})
    assert holds(job["if"], {"github": event.github, "needs": needs}, ROOT, True) is published
    assert not holds(job["if"], {"github": event.github, "needs": needs}, ROOT, False)


@pytest.mark.parametrize("private", [True, False])
def test_private_repositories_have_no_attestations(private: bool) -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/docker.yml").read_text())["jobs"]["publish"]["steps"]
    attesting = [step for step in steps if step.get("uses", "").startswith("actions/attest@")]
    github = Event("push", "refs/heads/main", private=private).github
    assert [holds(step["if"], {"github": github}, ROOT, True) for step in attesting] == [not private] * 2
