"""A project as `make run MODEL=imagenet` leaves it, with a tiny bundle and many small photos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.serving.project import ACCURACY_PHOTOS, LAYOUT
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from tests.serving.bundles import COLOURS, write_bundle
from tests.serving.images import encode_image

SIDE = 200


@pytest.fixture(autouse=True)
def no_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests that run meanwhile would have each measurement repeated."""
    monkeypatch.setattr("benchmarks.interference.TRIES", 1)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of three colours, with noise, so that each file has tens of kilobytes, as real photos have."""
    root = tmp_path_factory.mktemp("colours")
    bundle = write_bundle(root / LAYOUT.bundle, "imagenet")
    (root / "pins").mkdir()
    (root / LAYOUT.pin).write_bytes(Pin("imagenet", 1, Bundle.open(bundle).digest).to_bytes())
    for number in range(ACCURACY_PHOTOS):
        write_photo(root / LAYOUT.test / f"c{number % len(COLOURS)}" / f"{number:03}.jpg", number)
    return root


def write_photo(path: Path, number: int) -> None:
    """Writes noise with more of the colour of its class."""
    noise = np.random.default_rng(number).integers(0, 80, (SIDE, SIDE, 3), dtype=np.uint8)
    noise[..., number % len(COLOURS)] += 170
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(Image.fromarray(noise), "JPEG", quality=90))
