"""The tutorial's app finds its weights and class names in a cache that is made from the built model."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving.keras_cache import CLASSES, WEIGHTS, class_index, tutorial_cache, write_weights
from benchmarks.serving.peer_contenders import tutorial
from benchmarks.serving.project import LAYOUT, Project
from pipeline.network.backend import keras
from serving.artifact.bundle import Label


def built_project(root: Path, weights: str) -> Project:
    """A project with a built model, which is none that Keras can read."""
    (root / LAYOUT.built).mkdir(parents=True)
    (root / LAYOUT.keras_model).write_bytes(b"a model")
    (root / LAYOUT.weights).write_text(json.dumps({"file": weights}))
    return Project(root, (), (), ())


def test_class_names_are_those_that_were_published() -> None:
    labels = [Label("n02012849", "crane (n02012849)"), Label("n01443537", "goldfish")]
    assert class_index(labels) == b'{"0": ["n02012849", "crane"], "1": ["n01443537", "goldfish"]}'


def test_a_cache_is_made_once_for_each_built_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.serving.keras_cache.CACHE", tmp_path / "cache")
    project = built_project(tmp_path, WEIGHTS)
    made = tmp_path / "cache/keras" / hashlib.sha256(b"a model").hexdigest()[:12]
    (made / "models").mkdir(parents=True)
    (made / "models" / CLASSES).write_text("{}")
    assert tutorial_cache(project) == made
    assert tutorial(made).variables == {"KERAS_HOME": str(made)}


def test_without_the_weights_of_the_app_it_has_to_find_its_own(tmp_path: Path) -> None:
    assert tutorial_cache(built_project(tmp_path, "mobilenet_1_0_224_tf.h5")) is None
    assert tutorial_cache(Project(tmp_path / "nothing", (), (), ())) is None
    assert tutorial(None).variables == {}


# Slow: 5 s, in which Keras makes three networks. The tests above are of all but Keras.
@pytest.mark.slow
def test_the_app_loads_the_weights_of_the_built_model(tmp_path: Path) -> None:
    image = keras.Input((224, 224, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(image)
    built = keras.applications.MobileNetV2(weights=None, input_tensor=scaled)
    random = np.random.default_rng(1)
    built.set_weights([random.random(values.shape, np.float32) for values in built.get_weights()])
    built.save(tmp_path / "model.keras")
    write_weights(tmp_path / "model.keras", tmp_path / WEIGHTS)
    loaded = keras.applications.MobileNetV2(weights=str(tmp_path / WEIGHTS))
    for expected, found in zip(built.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, found)
    assert [path.name for path in tmp_path.glob("*.h5")] == [WEIGHTS]
    keras.backend.clear_session()
