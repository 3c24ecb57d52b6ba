"""The images of a report: content, reproducible bytes, and the text where an image is missing."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from serving.model.preprocessing import Preprocessing
from tests.pipeline.evaluated_models import EvaluatedModel, create_released
from tests.pipeline.projects import Project
from tests.serving.bundles import write_bundle

# One lost, one gained, one other mistake.
OLD = EvaluatedModel("old", {"001/001.png": ("owl", 0.9), "002/002.png": ("cat", 0.6)})
NEW = EvaluatedModel("new", {"000/000.png": ("dog", 0.8), "002/002.png": ("dog", 0.7)})
CHANGED, CONFUSION = Path("report/tiny-changed.png"), Path("report/tiny-confusion.png")
RELIABILITY = Path("report/tiny-reliability.png")
PIXELS = Path("data/prepared/tiny/test")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A branch with a bundle and three images of one colour each whose predictions changed."""
    project = create_released(tmp_path / "project", OLD)
    monkeypatch.chdir(project.root)
    NEW.write(project.root)
    write_bundle(project.root / "models/tiny/bundle", "tiny")
    for name, colour in (("000/000", "blue"), ("001/001", "yellow"), ("002/002", "purple")):
        filled(PIXELS / f"{name}.png", colour)
    project.commit("change")
    return project


def filled(path: Path, colour: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), colour).save(path)
    return path


def report(*options: str) -> str:
    assert main(["report", *options]) == 0
    return Path("report.md").read_text(encoding="utf-8")


def colours(path: Path) -> list[tuple[int, ...]]:
    """The colours that fill more than 1,000 pixels of an image, from left to right."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    found, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    large = [number for number, count in enumerate(np.bincount(places.ravel())) if count > 1000]
    columns = places.reshape(pixels.shape[:2])
    left = {number: int(np.argmax((columns == number).any(axis=0))) for number in large}
    return [tuple(int(part) for part in found[number]) for number in sorted(large, key=left.__getitem__)]


def test_images_whose_prediction_changed_are_shown_lost_ones_first(project: Project) -> None:
    text = report()
    assert "1 lost, 1 gained, 1 other mistake." in text
    assert f"![Images whose prediction changed]({CHANGED})" in text
    assert colours(CHANGED) == [(255, 255, 255), (0, 0, 255), (255, 255, 0), (128, 0, 128)]


def test_the_matrices_are_shown(project: Project) -> None:
    assert f"({CONFUSION})" in report()
    with Image.open(CONFUSION) as image:
        assert image.width > 1.5 * image.height, "one for each side"


def test_reliability_diagrams_are_shown(project: Project) -> None:
    assert f"![Reliability diagram]({RELIABILITY})" in report()
    with Image.open(RELIABILITY) as image:
        alone = image.width
    assert alone == image.height, "both sides have as many right: one diagram"
    EvaluatedModel("new", {"000/000.png": ("dog", 0.8)}).write(project.root)
    report()
    with Image.open(RELIABILITY) as image:
        assert image.width == 2 * alone


def test_images_are_the_same_bytes_each_time(project: Project) -> None:
    text = report()
    first = [path.read_bytes() for path in (CHANGED, CONFUSION, RELIABILITY)]
    assert report() == text
    assert [path.read_bytes() for path in (CHANGED, CONFUSION, RELIABILITY)] == first


def test_without_pictures_old_images_are_removed(project: Project) -> None:
    report()
    text = report("--without-pictures")
    assert list(Path("report").iterdir()) == []
    assert "![" not in text
    assert text.count("`make report` draws them") == 1


def test_an_image_that_is_not_here_is_counted(project: Project) -> None:
    (PIXELS / "000/000.png").unlink()
    (PIXELS / "001/001.png").write_bytes(b"no image any more")
    assert "2 images cannot be shown here." in report()
    assert colours(CHANGED) == [(255, 255, 255), (128, 0, 128)]


def test_missing_test_images_are_reported(project: Project) -> None:
    for path in PIXELS.rglob("*.png"):
        path.unlink()
    assert f"They cannot be shown: `{PIXELS}` has none of them here." in report()
    assert not CHANGED.exists()


def test_missing_bundle_and_build_are_reported(project: Project) -> None:
    Path("models/tiny/bundle/manifest.json").unlink()
    assert "They cannot be shown: `models/tiny/bundle`" in report()
    Path("models/tiny/build").mkdir()
    Path("models/tiny/build/preprocessing.json").write_text(
        json.dumps(Preprocessing.square(32, crop=1.0).to_json())
    )
    assert str(CHANGED) in report()


def test_an_image_outside_the_folder_is_not_shown(project: Project) -> None:
    filled(Path("data/secret.png"), "red")
    for measured, predicted in ((OLD, "cat"), (NEW, "dog")):
        rows = "image,actual,predicted,confidence,rank\n../../../secret.png,cat," + f"{predicted},0.9,1\n"
        measured.write(project.root)
        Path("reports/tiny/predictions.csv").write_text(rows)
        project.commit(measured.version)
    assert "They cannot be shown" in report("--against", "HEAD^")
    assert not CHANGED.exists()


@pytest.mark.parametrize("name", ["$x$ $\\frac", "日本語", "a\nb", "x" * 200, "", "\U0001f600", "$$"])
def test_any_name_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    names = ("cat", name)
    project = create_released(tmp_path / "project", EvaluatedModel("old", names=names))
    monkeypatch.chdir(project.root)
    EvaluatedModel("new", {"001/000.png": ("cat", 0.8)}, names).write(project.root)
    write_bundle(project.root / "models/tiny/bundle", "tiny")
    filled(PIXELS / "001/000.png", "blue")
    report()
    for path in (CHANGED, CONFUSION):
        with Image.open(path) as image:
            image.load()


def test_a_matrix_with_too_many_classes_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"class {number}" for number in range(21)]
    monkeypatch.chdir(
        create_released(tmp_path / "project", EvaluatedModel("old", names=names, images=2)).root
    )
    EvaluatedModel("new", {"001/000.png": ("class 3", 0.8)}, names, images=2).write(Path.cwd())
    assert "confusion.png" not in report()
    assert not CONFUSION.exists()
