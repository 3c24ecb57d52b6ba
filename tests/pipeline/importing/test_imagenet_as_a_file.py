"""ImageNet's MobileNetV2 as a file without a word about its preprocessing, and as the tutorial wraps it.

Slow: two searches on hundreds of photos, a minute of two cores each. Short tests of small networks in
test_inspect.py cover the same code.
"""

from pathlib import Path
from zipfile import ZipFile

import pytest

from pipeline.environment import Environment
from pipeline.importing import inspection
from pipeline.importing.inspection import Request, inspect
from pipeline.network.backend import keras
from tests.imagenet import HOME, PHOTOS, needs_photos, needs_weights

pytestmark = [pytest.mark.slow, needs_weights, needs_photos]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos in class folders, named by their WordNet ids."""
    folder = tmp_path_factory.mktemp("photos")
    with ZipFile(PHOTOS) as archive:
        for name in archive.namelist():
            if name.endswith(".JPEG"):
                file = Path(name).name
                (folder / file[:9]).mkdir(exist_ok=True)
                (folder / file[:9] / file).write_bytes(archive.read(name))
    return folder


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return keras.applications.MobileNetV2(weights="imagenet")


@pytest.fixture(autouse=True)
def fewer_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 of the 1000 photos tell the same ways apart."""
    monkeypatch.setattr(inspection, "MAX_PHOTOS", 400)


def test_the_scale_and_the_crop_are_found(network: keras.Model, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "mobilenet.keras"
    network.save(file)
    found = inspect(Request(file, photos, Path("imagenet")), Environment(None, HOME, experiment=False))
    assert (found.best.scale, found.best.channels) == ([-1, 1], "RGB")
    assert found.best.preprocessing.resize == "crop"
    recommended = next(trial for trial in found.resize_trials if trial.declaration == found.best)
    # The built-in one has 89.2 % with its own, antialiased crop.
    assert recommended.photos == 400
    assert recommended.top1 > 0.88


def test_the_mistake_of_the_tutorial_is_found(network: keras.Model, photos: Path, tmp_path: Path) -> None:
    """`Rescaling(1/255)` before a network that was trained on pixels from -1 to 1."""
    image = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 255)(keras.layers.Resizing(224, 224, interpolation="lanczos3")(image))
    file = tmp_path / "tutorial.keras"
    keras.Model(image, network(scaled)).save(file)
    found = inspect(Request(file, photos, Path("imagenet")), Environment(None, HOME, experiment=False))
    assert found.best.scale == [-1, 1]
    inside = next(
        trial
        for trial in found.scale_trials
        if (trial.declaration.scale, trial.declaration.channels) == ("inside", "RGB")
    )
    # By 14 points and more, on the same photos.
    lost, gained, p_value = inside.worse_than(found.scale_trials[0])
    assert p_value < 1e-4
    assert (lost - gained) / inside.photos > 0.1
