"""`make pin-image` and `make manifests` deploy an image by its digest, or say why not."""

import subprocess
from pathlib import Path

import pytest

from deploy.manifests import OVERLAYS, ManifestsRefused, pin_image, render
from tests.deploy.kubernetes.rendered import copy_of_the_manifests, documents, pod_of
from tests.repo.imports import ROOT

REPOSITORY, DIGEST = "ghcr.io/owner/goldfish", "sha256:" + "12ab" * 16
PIN = (ROOT / "pins/digits.json").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the manifests."""
    return copy_of_the_manifests(tmp_path, {"digits.json": PIN})


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs make in the repository."""
    command = ["make", "--silent", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_image_that_was_written_is_rendered(overlay: str, folder: Path) -> None:
    assert pin_image(REPOSITORY, DIGEST, folder) == folder / "image/kustomization.yaml"
    (container,) = pod_of(documents(overlay, folder))["containers"]
    assert container["image"] == f"{REPOSITORY}@{DIGEST}"
    assert f"image: {REPOSITORY}@{DIGEST}\n" in render(overlay, folder)


def test_without_an_image_nothing_is_rendered(folder: Path) -> None:
    with pytest.raises(ManifestsRefused, match=r"names no image yet.*make pin-image"):
        render("plain", folder)


def test_what_the_repository_has_cannot_be_pulled() -> None:
    """Also for those who render it without make: a name below `.invalid` does not exist (RFC 2606)."""
    (container,) = pod_of(documents("plain"))["containers"]
    assert container["image"].partition("/")[0].endswith(".invalid")


def test_a_tag_is_refused(folder: Path) -> None:
    file = pin_image(REPOSITORY, DIGEST, folder)
    file.write_text(file.read_text().replace(f"digest: {DIGEST}", "newTag: latest"))
    with pytest.raises(ManifestsRefused, match=r"owner/goldfish:latest is not named by digest"):
        render("plain", folder)


@pytest.mark.parametrize(
    ("repository", "digest", "said"),
    [
        ("ghcr.io/owner/goldfish:latest", DIGEST, "without a tag"),
        ("goldfish", DIGEST, "is no repository"),
        ("ghcr.io/Owner/goldfish", DIGEST, "is no repository"),
        ("ghcr.io/owner/goldfish\n    newTag: x", DIGEST, "is no repository"),
        ("https://ghcr.io/owner/goldfish", DIGEST, "is no repository"),
        (REPOSITORY, "latest", "is no digest"),
        (REPOSITORY, "12ab" * 16, "is no digest"),
        (REPOSITORY, DIGEST + "\n", "is no digest"),
    ],
)
def test_what_names_no_image_is_not_written(repository: str, digest: str, said: str, folder: Path) -> None:
    before = (folder / "image/kustomization.yaml").read_bytes()
    with pytest.raises(ManifestsRefused, match=said):
        pin_image(repository, digest, folder)
    assert (folder / "image/kustomization.yaml").read_bytes() == before


def test_a_registry_with_a_port_is_one(folder: Path) -> None:
    pin_image("registry.example.org:5000/a/b_c", DIGEST, folder)
    assert f"image: registry.example.org:5000/a/b_c@{DIGEST}\n" in render("plain", folder)


def test_an_unknown_overlay_is_refused(folder: Path) -> None:
    with pytest.raises(ManifestsRefused, match="'helm' is no overlay: plain, kserve, knative are"):
        render("helm", folder)


def test_a_missing_pin_is_named(folder: Path) -> None:
    (folder.parents[1] / "pins/digits.json").unlink()
    with pytest.raises(ManifestsRefused, match=r"pins/digits\.json"):
        render("plain", folder)


def test_a_missing_kubectl_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ManifestsRefused, match="kubectl is missing"):
        render("plain", folder)


def test_make_passes_errors_on() -> None:
    assert "names no image yet" in make("manifests").stderr
    assert "'helm' is no overlay" in make("manifests", "OVERLAY=helm").stderr
    assert "Which image? make pin-image REPOSITORY=" in make("pin-image", "REPOSITORY=a/b").stderr
    assert "is no digest" in make("pin-image", f"REPOSITORY={REPOSITORY}", "DIGEST=latest").stderr
