"""The tutorial's model: where Keras's cache has its weights and photos, and what needs them."""

import csv
import os
from pathlib import Path

import pytest

from pipeline.layout import Layout
from tests.pipeline.projects import Project

HOME = Path(os.environ.get("KERAS_HOME", "nowhere")).expanduser().resolve()
WEIGHTS = HOME / "models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
PHOTOS = HOME / "datasets/bc69043e2862758a1906c6a24a792bb28c6bb2ff.zip"

LAYOUT = Layout("imagenet")
GOLDFISH = "n01443537/n01443537_goldfish.JPEG"
OFFLINE = {"MLFLOW_TRACKING_URI": "", "KERAS_HOME": str(HOME), "https_proxy": "http://127.0.0.1:9"}

needs_weights = pytest.mark.skipif(
    not WEIGHTS.exists(), reason="KERAS_HOME names no cache with MobileNetV2's weights"
)
needs_photos = pytest.mark.skipif(
    not PHOTOS.exists(), reason="KERAS_HOME names no cache with the ImageNet photos"
)


def predictions(project: Project) -> dict[str, dict[str, str]]:
    """What evaluation says of each photo, by its path below the test images."""
    with (project.root / LAYOUT.reports / "predictions.csv").open() as file:
        return {row["image"]: row for row in csv.DictReader(file)}
