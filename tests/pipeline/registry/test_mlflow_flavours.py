"""MLmodel and requirements: the keras flavour is written only where there is a Keras model."""

from dataclasses import asdict
from pathlib import Path

import mlflow.pyfunc
import pytest
import yaml

from pipeline.registry.mlflow_model import packaged_code, write_flavours
from serving.artifact.manifest import KERAS_MODEL, MANIFEST
from serving.model.predictor import Predictor
from serving.model.preprocessing import Preprocessing
from tests.serving.bundles import COLOURS, one_colour_png, write_bundle, write_files, write_manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of a grey, flat input, without the files of MLflow."""
    return write_bundle(tmp_path / "bundle", preprocessing=Preprocessing(20, 28, 1, antialias=False))


def test_a_bundle_without_a_keras_model_has_one_flavour(bundle: Path) -> None:
    write_flavours(bundle)
    assert list(yaml.safe_load((bundle / "MLmodel").read_text())["flavors"]) == ["python_function"]
    packages = [line.partition("=")[0] for line in (bundle / "requirements.txt").read_text().split()]
    assert packages == ["onnxruntime", "pillow", "numpy>"]
    write_manifest(bundle, shape=(20, 28, 1))
    model = mlflow.pyfunc.load_model(str(bundle))
    images = [one_colour_png(rgb) for rgb in COLOURS.values()]
    expected = Predictor.open(bundle)
    answers = [expected.top(expected.classify(image)) for image in images]
    assert model.predict(images) == [[asdict(score) for score in answer] for answer in answers]


def test_a_bundle_with_a_keras_model_has_both(bundle: Path) -> None:
    write_files(bundle, {KERAS_MODEL: b"a Keras model"})
    write_flavours(bundle)
    flavours = yaml.safe_load((bundle / "MLmodel").read_text())["flavors"]
    assert list(flavours) == ["keras", "python_function"]
    assert flavours["keras"]["data"] == "data"
    packages = [line.partition("=")[0] for line in (bundle / "requirements.txt").read_text().split()]
    assert packages == ["keras", "onnxruntime", "pillow", "numpy>", "tensorflow"]


def test_the_code_is_complete(bundle: Path) -> None:
    write_flavours(bundle)
    code = {path.name for path in (bundle / "code/serving").rglob("*.py")}
    assert {path.name for path in packaged_code()} == code
    assert MANIFEST not in code
