"""Bundles of format 1 go on working: read, verified and copied into an image as ever.

`test_pull.py` pulls one, `tests/serving/api/protocols/test_input_shapes.py` serves one.
"""

import hashlib
import re
from pathlib import Path

import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.container_contents import copy_release
from serving.artifact.manifest import FORMAT, MANIFEST, PREPROCESSING, Manifest
from serving.artifact.pin import Pin
from serving.artifact.release import Release
from serving.model.predictor import Predictor
from serving.pyfunc import _load_pyfunc
from tests.serving.bundles import COLOURS, one_colour_png, write_bundle

# What format 1 wrote, to the byte.
OLD_MANIFEST = b"""{
 "files": {
  "serving/model.onnx": {
   "role": "serving",
   "sha256": "44fb15b23db3d1f55faab4d3000d80438ae938250349c11519ea803af9147009",
   "size": 350
  }
 },
 "format": 1,
 "input": {
  "dtype": "uint8",
  "name": "image",
  "shape": [
   null,
   8,
   8,
   3
  ]
 },
 "name": "colours",
 "output": {
  "dtype": "float32",
  "name": "probabilities",
  "shape": [
   null,
   3
  ]
 }
}
"""
OLD_PREPROCESSING = b"""{
 "crop": 1.0,
 "interpolation": "bicubic",
 "size": 8
}
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a bundle of format 1."""
    return write_bundle(tmp_path / "old", extra={"MLmodel": b"flavors: {}\n"}, bundle_format=1)


def test_manifest_stays_the_same_bytes() -> None:
    manifest = Manifest.from_bytes(OLD_MANIFEST, Path("manifest.json"))
    assert (manifest.format, manifest.input_shape, manifest.classes) == (1, (8, 8, 3), 3)
    assert not manifest.energy
    assert manifest.to_bytes() == OLD_MANIFEST
    # The pins of such bundles.
    digest = "dd9531939c071126914e335f49cdd0cb8f59922336c7adf757f4eb6ca82ee5c7"
    assert hashlib.sha256(OLD_MANIFEST).hexdigest() == digest


def test_bundle_of_these_tests_is_one_of_format_1(old: Path) -> None:
    assert (old / PREPROCESSING).read_bytes() == OLD_PREPROCESSING
    rest = re.sub(rb'"files": \{.*?\n \},', b"", (old / MANIFEST).read_bytes(), flags=re.DOTALL)
    assert rest == re.sub(rb'"files": \{.*?\n \},', b"", OLD_MANIFEST, flags=re.DOTALL)


def test_it_predicts_as_one_of_the_newest_format(old: Path, bundle: Path) -> None:
    assert Bundle.open(bundle).manifest.format == FORMAT
    before, now = Predictor.open(old), Predictor.open(bundle)
    assert before.check_golden() == now.check_golden() <= 0.005
    assert before.preprocessing == now.preprocessing
    for rgb in COLOURS.values():
        image = one_colour_png(rgb)
        assert before.classify(image).tolist() == now.classify(image).tolist()
    assert _load_pyfunc(str(old)).predict([one_colour_png((255, 0, 0))])[0][0]["label"] == "red"


def test_its_files_go_into_the_image(old: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(old)
    copy_release(Release(bundle, Pin("colours", 3, bundle.digest), None, None), tmp_path / "image")
    copied = Predictor.open(tmp_path / "image/models/colours/bundle")
    assert copied.bundle.digest == bundle.digest
    assert copied.check_golden() <= 0.005
