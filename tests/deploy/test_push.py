"""`make push` publishes the tested image of the committed pin, under tags for its commit and its model."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.smoke import container_address, request_json, running_container, wait_until_ready
from serving.artifact.pin import Pin
from tests.deploy.conftest import IMAGE, make
from tests.deploy.engine import docker
from tests.deploy.registry import ImageRegistry, image_registry
from tests.pipeline.projects import Project

PIN = Path("pins/colours.json")
REPOSITORY = "owner/goldfish"
# Slow: more calls of `make push`, some seconds each. Other tests here publish, and refuse to.
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    """An empty registry."""
    with image_registry(tmp_path_factory.mktemp("registry")) as started:
        yield started


def push(project: Project, base: str, registry: ImageRegistry) -> "subprocess.CompletedProcess[str]":
    """Runs `make push`."""
    return make(project, base, "push", REPOSITORY=f"{registry.address}/{REPOSITORY}")


def test_it_is_published_under_its_commit_and_its_model(
    image: str, clone: Project, base: str, registry: ImageRegistry
) -> None:
    done = push(clone, base, registry)
    assert done.returncode == 0, done.stdout + done.stderr
    told = dict(line.split("=", 1) for line in done.stdout.splitlines())
    pin, commit = Pin.read(clone.root / PIN), clone.succeed("git", "rev-parse", "HEAD").strip()
    tags = [f"colours-v3-{pin.digest[:8]}", f"sha-{commit}"]
    assert registry.tags(REPOSITORY) == tags
    assert {registry.digest(REPOSITORY, tag) for tag in tags} == {told["digest"]}
    with running_container(f"{told['name']}@{told['digest']}") as container:
        wait_until_ready(container, container_address(container))
        assert request_json(container_address(container), "/version")["digest"] == pin.digest
    docker("image", "rm", f"{told['name']}@{told['digest']}")
    assert image == IMAGE


@slow
@pytest.mark.usefixtures("image")
def test_on_a_fresh_machine_it_prints_the_same_two_lines(
    spoiled: Project, base: str, registry: ImageRegistry
) -> None:
    """The output of the installation goes to stderr: CI reads stdout."""
    (spoiled.root / ".venv/.serving").unlink()
    repository = f"{registry.address}/{REPOSITORY}"
    done = make(spoiled, base, "push", marks=(".created",), REPOSITORY=repository)
    assert "Installing the server's environment" in done.stderr
    assert re.fullmatch(rf"digest=sha256:[0-9a-f]{{64}}\nname={re.escape(repository)}\n", done.stdout)


@slow
def test_it_leaves_no_names_behind(image: str, clone: Project, base: str, registry: ImageRegistry) -> None:
    before = docker("image", "ls", "--quiet", "--no-trunc").stdout
    assert push(clone, base, registry).returncode == 0
    names = docker("image", "ls", "--format", "{{.Repository}}").stdout.split()
    assert image in names
    assert not [name for name in names if name.endswith(REPOSITORY)]
    assert docker("image", "ls", "--quiet", "--no-trunc").stdout == before


@pytest.mark.usefixtures("image")
def test_another_image_than_the_pinned_one_is_not_published(
    spoiled: Project, base: str, registry: ImageRegistry
) -> None:
    pin = Pin.read(spoiled.root / PIN)
    (spoiled.root / PIN).write_bytes(Pin(pin.name, pin.version + 1, pin.digest).to_bytes())
    spoiled.commit("another version")
    done = push(spoiled, base, registry)
    assert done.returncode != 0
    assert f"the label says ['colours', '3', '{pin.digest}'], the pin" in done.stderr


@pytest.mark.usefixtures("image")
def test_a_pin_that_is_not_committed_is_not_published(
    spoiled: Project, base: str, registry: ImageRegistry
) -> None:
    (spoiled.root / PIN).write_bytes((spoiled.root / PIN).read_bytes().replace(b": 3", b": 4"))
    done = push(spoiled, base, registry)
    assert done.returncode != 0
    assert "pins/colours.json is not as committed" in done.stderr


@slow
@pytest.mark.usefixtures("image")
def test_an_image_of_other_code_is_not_published(
    spoiled: Project, base: str, registry: ImageRegistry
) -> None:
    before = spoiled.succeed("git", "rev-parse", "HEAD").strip()
    spoiled.commit("what came after the image was built")
    done = push(spoiled, base, registry)
    assert done.returncode != 0
    assert f"{IMAGE} was built of {before}, and this is " in done.stderr


@pytest.mark.usefixtures("image")
def test_a_registry_that_is_not_there_is_said(clone: Project, base: str) -> None:
    done = push(clone, base, ImageRegistry("127.0.0.1:9"))
    assert done.returncode != 0
    assert "docker push 127.0.0.1:9/owner/goldfish:sha-" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_place_it_asks_for_one(clone: Project, base: str) -> None:
    done = make(clone, base, "push")
    assert done.returncode != 0
    assert "make push REPOSITORY=ghcr.io/owner/name" in done.stderr
