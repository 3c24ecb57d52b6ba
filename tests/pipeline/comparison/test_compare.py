"""`python -m pipeline compare`: two bundles on the same images, and errors that say what to name instead."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.registry.mlflow_registry import Registry
from pipeline.registry.promotion import promote
from pipeline.registry.registration import ensure_registered
from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.manifest import LABELS
from serving.artifact.registry.database import DIGEST_TAG
from serving.model.preprocessing import Preprocessing
from tests.pipeline.candidate_bundle import LAYOUT, write_candidate
from tests.pipeline.projects import Project
from tests.serving.bundles import COLOURS, write_bundle, write_manifest

# More than the 154 answers that the test needs if all agree.
IMAGES = 165


def write_images(folder: Path, images: int = IMAGES) -> Path:
    """Small images in class folders, in turns; in one of eleven another colour dominates."""
    random = np.random.default_rng(1)
    for number in range(images):
        shown = (number + (number % 11 == 0)) % 3
        pixels = random.integers(0, 100, (8, 8, 3), dtype=np.uint8)
        pixels[:, :, shown] += 100
        path = folder / f"c{number % 3}" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def write_with_labels(folder: Path, names: Sequence[str], **options: Any) -> Path:  # noqa: ANN401
    """A bundle with other names of its classes, whose ids stay c0, c1, c2."""
    write_bundle(folder, "tiny", **options)
    labels = [{"id": f"c{number}", "name": name} for number, name in enumerate(names)]
    (folder / LABELS).write_bytes(to_json(labels))
    return write_manifest(folder, "tiny")


def write_text(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("no picture")


@pytest.fixture
def images(project: Project) -> Path:
    """The test images of a project with a bundle in its workspace."""
    write_bundle(LAYOUT.bundle, "tiny")
    return write_images(LAYOUT.test)


def compare(*arguments: str) -> dict[str, Any]:
    """The figures that the command writes."""
    assert main(["compare", "tiny", *arguments, "--json", "figures.json"]) == 0
    figures: dict[str, Any] = json.loads(Path("figures.json").read_text())
    return figures


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error of a command that fails."""
    assert main(["compare", "tiny", *arguments]) == 1
    return capsys.readouterr().err


def test_an_equal_bundle_is_found_as_good(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_bundle(Path("steeper"), "tiny", steepness=5.0)
    figures = compare("workspace", str(other))
    assert figures["decision"]["state"] == "as_good"
    assert figures["decision"]["after"] == 154
    assert (figures["images"], figures["agreed"], figures["broken"]) == (IMAGES, IMAGES, [])
    assert figures["accuracy"]["a"] == figures["accuracy"]["b"] == round(10 / 11, 5)
    assert 0 < figures["difference_mean"] < figures["difference_largest"] < 0.2
    assert sum(figures["differences"].values()) == IMAGES
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["A", Bundle.open(LAYOUT.bundle).digest, "workspace"]
    assert printed[1].split() == ["B", Bundle.open(other).digest, "steeper"]
    assert "165 of 165, 100.0 % (95 % interval 97.7 to 100.0 %)" in printed[3]
    assert printed[-3].endswith("as good after 154 answers")


def test_permuted_labels_are_found_worse_in_three_answers(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_with_labels(Path("permuted"), ("green", "blue", "red"))
    figures = compare("workspace", str(other))
    assert (figures["decision"]["state"], figures["decision"]["after"]) == ("worse", 3)
    assert figures["agreed"] == 0
    assert {(row["a"], row["b"]) for row in figures["disagreements"]} == {
        ("red", "green"), ("green", "blue"), ("blue", "red")
    }  # fmt: skip
    assert sum(row["images"] for row in figures["disagreements"]) == IMAGES
    accuracy = figures["accuracy"]
    # Of 165 images 15 are in the folder of another class; of the others A has all right and B none.
    assert accuracy["lost"] == 150
    assert accuracy["p_value"] < 1e-9
    assert "red -> green: " in capsys.readouterr().out


def test_bundles_that_prepare_images_differently_see_the_same_images(images: Path) -> None:
    other = write_bundle(Path("larger"), "tiny", preprocessing=Preprocessing.square(16, crop=1.0))
    figures = compare(str(other), "workspace", "--floor", "0.5")
    assert figures["decision"]["state"] == "as_good"
    assert figures["decision"]["after"] == 100


def test_other_label_sets_are_refused_by_name(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_with_labels(Path("amber"), ("red", "green", "amber"))
    error = failure(capsys, "workspace", str(other))
    assert "only in A (workspace): 'blue'" in error
    assert "only in B (amber): 'amber'" in error


def test_broken_images_are_listed_and_stop_nothing(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("photos")
    write_images(folder / "more", 30)
    (folder / "notes.txt").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "more/c0/000.png").read_bytes()[:60])
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"")
    (folder / ".hidden.png").write_bytes(b"")
    os.mkfifo(folder / "pipe.png")
    (folder / "nowhere.png").symlink_to("missing.png")
    (folder / "link").symlink_to("more", target_is_directory=True)
    figures = compare("workspace", "workspace", "--photos", str(folder))
    assert (figures["images"], figures["links"]) == (30, ["link/"])
    names = {row["file"] for row in figures["broken"]}
    assert names == {"notes.txt", "cut.png", "pipe.png", "nowhere.png", "\udcff.png"}
    assert figures["decision"]["state"] == "undecided"
    printed = capsys.readouterr().out
    assert "30 of photos, 5 more could not be compared" in printed
    assert "pipe.png: It is no file but" in printed


@pytest.mark.parametrize(
    ("folders", "labelled"),
    [(["c0", "c1"], 6), (["red", "test/green"], 6), (["red", "someone"], 3), (["."], 0)],
)
def test_folders_that_name_a_class_label_their_photos(
    images: Path, folders: list[str], labelled: int
) -> None:
    for number, name in enumerate(folders):
        folder = Path("photos") / name
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(3):
            colour = list(COLOURS.values())[number]
            Image.new("RGB", (8, 8), colour).save(folder / f"{number}{copy}.png")
    accuracy = compare("workspace", "workspace", "--photos", "photos")["accuracy"]
    assert (accuracy["images"] if accuracy else 0) == labelled
    assert accuracy is None or accuracy["a"] == 1


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda folder: None, "it cannot be read (No such file or directory)"),
        (lambda folder: write_text(folder), "it cannot be read (Not a directory)"),
        (lambda folder: folder.mkdir(), "it has no files"),
        (
            lambda folder: write_text(folder / "a.txt"),
            "none of its files is usable (1 tried), for instance a.txt: ",
        ),
    ],
)
def test_a_folder_without_usable_images_is_an_error(
    images: Path,
    prepare: Callable[[Path], object],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare(Path("photos"))
    error = failure(capsys, "workspace", "workspace", "--photos", "photos")
    assert reason in error
    assert "--photos" in error


def test_what_is_no_bundle_of_the_model_is_an_error(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "models/tiny/bundle does not exist" in failure(capsys, "workspace", "workspace")
    assert "'3rd' is no bundle of tiny" in failure(capsys, "3rd", "workspace")
    assert "'1234567890' is no bundle of tiny" in failure(capsys, "1234567890", "workspace")
    assert "nothing is pinned yet" in failure(capsys, "pinned", "workspace")
    write_bundle(Path("other"), "colours")
    assert "colours" in failure(capsys, "other", "workspace")
    Path("empty").mkdir()
    assert "empty" in failure(capsys, "empty", "workspace")


@pytest.mark.parametrize(("option", "value"), [("--floor", "1"), ("--floor", "x"), ("--slowdown", "-1")])
def test_values_that_cannot_be_tested_are_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "tiny", "workspace", "workspace", option, value])
    assert option in capsys.readouterr().err


def test_versions_come_from_the_registry(
    project: Project, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_candidate(4.0)
    promote(LAYOUT, registry, ensure_registered(LAYOUT, registry))
    second = write_candidate(5.0)
    challenger = ensure_registered(LAYOUT, registry)
    write_images(LAYOUT.test, 20)
    for arguments in (("champion", "challenger"), ("1", "2")):
        figures = compare(*arguments)
        assert [figures[name]["digest"] for name in "ab"] == [first.digest, second.digest]
        assert [figures[name]["version"] for name in "ab"] == [1, 2]
    # The first one was pulled once, the second one is in the workspace.
    assert [path.name for path in Path("models/tiny/pulled").iterdir()] == [first.digest[:12]]
    assert capsys.readouterr().err.count("pulling") == 1
    assert "has no tiny with version 7" in failure(capsys, "pinned", "7")
    registry.client.set_model_version_tag("tiny", str(challenger.number), DIGEST_TAG, "../../../etc")
    assert "its digest is '../../../etc'" in failure(capsys, "pinned", "challenger")
    registry.client.delete_registered_model_alias("tiny", "challenger")
    assert "has no tiny with the alias challenger" in failure(capsys, "pinned", "challenger")
