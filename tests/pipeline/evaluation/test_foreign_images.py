"""Foreign images: those of the user, built-in ones for the built-in data, and none for other data."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.data.recipe import builtin_data_set
from pipeline.data.sklearn_images import digit_images
from pipeline.evaluation.builtin_foreign_images import LETTERS, WRITINGS, builtin_groups
from pipeline.evaluation.foreign_images import BUILTIN, find_foreign_images
from pipeline.layout import Layout
from tests.pipeline.projects import ROOT

LAYOUT = Layout("pets")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, in which a test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(text: str) -> None:
    LAYOUT.raw.mkdir(parents=True)
    (LAYOUT.raw / "source.yaml").write_text(text)


def write(*names: str) -> None:
    for name in names:
        (LAYOUT.foreign / name).parent.mkdir(parents=True, exist_ok=True)
        (LAYOUT.foreign / name).write_bytes(b"x")


def test_the_users_folders_are_groups() -> None:
    write("cars/a.jpg", "cars/deep/er/b.heic", "plants/c.avif", "d.png", "notes.txt")
    found = find_foreign_images(LAYOUT, None)
    assert found is not None
    assert found.source == "data/foreign/pets"
    assert [(image.group, image.name) for image in found.images] == [
        ("cars", "cars/a.jpg"),
        ("cars", "cars/deep/er/b.heic"),
        (None, "d.png"),
        (None, "notes.txt"),
        ("plants", "plants/c.avif"),
    ]
    assert found.images[0].read() == b"x"


def test_what_systems_put_beside_photos_is_passed_over() -> None:
    write("cars/a.jpg", ".DS_Store", "cars/Thumbs.db", "__MACOSX/b.jpg", "cars/._a.jpg")
    found = find_foreign_images(LAYOUT, None)
    assert found is not None
    assert [image.name for image in found.images] == ["cars/a.jpg"]


@pytest.mark.parametrize(
    ("model", "groups"),
    [
        ("digits", {"letters": len(LETTERS) * WRITINGS, "shapes": 96, "photos": 96}),
        ("imagenet", {"textures": 96, "noise": 96, "digits": 96}),
    ],
)
def test_the_built_in_data_have_built_in_foreign_images(model: str, groups: dict[str, int]) -> None:
    recipe((ROOT / f"data/raw/{model}/source.yaml").read_text())
    assert builtin_data_set(LAYOUT.raw) == model
    found = find_foreign_images(LAYOUT, model)
    assert found is not None
    assert found.source == BUILTIN
    assert Counter(image.group for image in found.images) == groups
    assert len({image.name for image in found.images}) == len(found.images)


def test_the_users_images_come_first_even_if_there_are_none() -> None:
    LAYOUT.foreign.mkdir(parents=True)
    found = find_foreign_images(LAYOUT, "digits")
    assert found is not None
    assert found.images == []


def test_other_data_have_none() -> None:
    assert builtin_data_set(LAYOUT.raw) is None
    recipe(f"url: https://example.org/a.zip\nclasses: '(?P<class>.*)/'\nsha256: {'a' * 64}\n")
    assert builtin_data_set(LAYOUT.raw) is None
    assert find_foreign_images(LAYOUT, None) is None


def open_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_they_are_the_same_bytes_each_time_and_all_differ() -> None:
    once, again = builtin_groups("digits"), builtin_groups("digits")
    assert once == again
    files = [data for group in once.values() for data in group]
    # Parts of a photo without any structure may be equal.
    assert len(set(files)) > 0.9 * len(files)


def test_drawings_look_as_the_digits_do() -> None:
    """Grey, 64 x 64, bright strokes on dark, about as much of them."""
    mean = np.mean([np.asarray(image) for _, image in digit_images()]) / 255
    groups = builtin_groups("digits")
    for name in ("letters", "shapes"):
        images = [open_image(data) for data in groups[name]]
        assert {(image.mode, image.size) for image in images} == {("L", (64, 64))}
        pixels: npt.NDArray[np.float64] = np.stack([np.asarray(image) for image in images]) / 255
        assert 0.7 * mean < pixels.mean() < 1.6 * mean
        assert (pixels.max(axis=(1, 2)) > 0.6).all()
    letters: npt.NDArray[np.float64] = np.stack([np.asarray(open_image(data)) for data in groups["letters"]])
    # Each fills the height or the width, as digits do.
    rows, columns = (letters > 60).any(axis=2).sum(axis=1), (letters > 60).any(axis=1).sum(axis=1)
    assert (np.maximum(rows, columns) > 50).all()


def test_no_letter_is_like_a_digit() -> None:
    assert not set("OoQIlZzSsBbGgqDi0123456789") & set(LETTERS)
    assert len(set(LETTERS)) == len(LETTERS) == 36
