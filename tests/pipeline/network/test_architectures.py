"""Networks of keras.applications: their scaling, their published weights, and fine-tuning from these."""

import hashlib
import importlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.environment import Environment
from pipeline.errors import WeightsUnknown, WeightsUnsuitable
from pipeline.network import architectures, imagenet
from pipeline.network.backend import keras
from pipeline.network.families import FAMILIES
from pipeline.params import Augment, Finetune, Pretrained, Training
from tests.pipeline.network.random_weights import coloured_noise, randomise

legacy_h5_format, file_utils = keras.src.legacy.saving.legacy_h5_format, keras.src.utils.file_utils

RANDOM = np.random.default_rng(5)
PHASE = Training(epochs=1, learning_rate=0.001)
# The quickest one; the others, which do the same in up to a minute each, are in the slow group.
FAST = ("MobileNetV3Small",)
SLOW = (
    *(
        "MobileNet",
        "MobileNetV2",
        "EfficientNetB0",
        "EfficientNetV2B0",
        "ResNet50",
        "ResNet50V2",
        "DenseNet121",
    ),
    *("Xception", "InceptionV3", "NASNetMobile", "ConvNeXtTiny", "VGG16"),
)
NAMES = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def pretrained(name: str) -> Pretrained:
    alpha = 1.0 if FAMILIES[name].alphas else None
    return Pretrained(method="pretrained", size=FAMILIES[name].size, crop=1.0, architecture=name, alpha=alpha)


def finetune(name: str, size: int) -> Finetune:
    return Finetune(
        method="finetune",
        size=size,
        crop=1.0,
        architecture=name,
        alpha=pretrained(name).alpha,
        seed=1,
        batch=4,
        dropout=0.1,
        class_weights="none",
        augment=Augment(shift=0, flip=False),
        head=PHASE,
        top=PHASE,
        layers=3,
    )


def published(name: str, folder: Path) -> Path:
    """A file of random weights, which looks like that of Keras's release."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = getattr(keras.applications, name)(weights=None)
    size = FAMILIES[name].size
    randomise(model, keras_scaling(name)(coloured_noise(4, size, seed=1).astype(np.float32)), seed=2)
    url = FAMILIES[name].url(1.0 if FAMILIES[name].alphas else None)
    path = folder / "models" / (FAMILIES[name].cached_as or Path(url).name)
    path.parent.mkdir(exist_ok=True)
    save(model, path)
    return path


def save(model: keras.Model, path: Path) -> None:
    """Writes weights in the format of Keras's published files."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.fixture(autouse=True)
def released_memory() -> Iterator[None]:
    """Keras keeps the graphs of all models until this is called."""
    yield
    keras.backend.clear_session()


# One for each way.
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "DenseNet121", "ConvNeXtTiny"])
def test_pixels_are_scaled_as_by_keras(name: str) -> None:
    pixels = RANDOM.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    image = keras.Input((5, 4, 3), dtype="uint8")
    scaled = architectures.scale(image, FAMILIES[name])
    found = pixels if scaled is image else keras.Model(image, scaled).predict(pixels, verbose=0)
    expected = keras_scaling(name)(pixels.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_published_weights_are_loaded(name: str, tmp_path: Path) -> None:
    settings, size = pretrained(name), FAMILIES[name].size
    path = published(name, tmp_path)
    environment = Environment(None, tmp_path, experiment=False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    weights = imagenet.fetch_weights(name, settings.alpha, environment, {settings.alpha: {digest: "a test"}})
    assert weights == imagenet.WeightsFile(path, digest, "a test")

    network = architectures.build_pretrained(settings, weights.path)
    assert (network.input_shape, network.input.dtype) == ((None, size, size, 3), "uint8")
    # The images that the statistics are of: answers of a deep random network for others are all alike.
    pixels = coloured_noise(4, size, seed=1)
    found = network.predict(pixels, verbose=0)
    expected = keras_alone(name, path).predict(keras_scaling(name)(pixels.astype(np.float32)), verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(found, axis=0).max() > 1e-2

    # Fine-tuning starts from the same backbone, at any size.
    tuned = architectures.build_finetune(finetune(name, FAMILIES[name].min_size + 32), 3, weights.path)
    backbone, full = tuned.get_weights()[:-2], network.get_weights()
    assert len(backbone) < len(full)
    for one, other in zip(backbone, full[: len(backbone)], strict=True):
        np.testing.assert_array_equal(one, other)
    features = keras.Model(tuned.input, tuned.layers[-3].output)
    small = coloured_noise(2, tuned.input_shape[1], seed=4)
    assert np.ptp(features.predict(small, verbose=0), axis=0).max() > 1e-2


def keras_scaling(name: str) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Keras's `preprocess_input` of the family."""
    if name.startswith("ResNet") and name.endswith("V2"):
        module: Any = keras.applications.resnet_v2
    else:
        module = importlib.import_module(getattr(keras.applications, name).__module__)
    scaling: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = module.preprocess_input
    return scaling


def keras_alone(name: str, path: Path) -> keras.Model:
    """The model that Keras makes of the file with `weights="imagenet"`, without this project."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        # Keras would download the file again, because its hash is another one.
        patch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
        return getattr(keras.applications, name)(weights="imagenet")


@pytest.mark.parametrize(("name", "algorithm"), [("MobileNetV3Small", "MD5"), ("ConvNeXtTiny", "SHA-256")])
def test_weights_with_another_hash_are_refused(name: str, algorithm: str, tmp_path: Path) -> None:
    path = tmp_path / "models" / Path(FAMILIES[name].url(1.0)).name
    path.parent.mkdir()
    path.write_bytes(b"other weights")
    environment = Environment(None, tmp_path, experiment=False)
    digest = FAMILIES[name].hashes[pretrained(name).alpha]
    with pytest.raises(WeightsUnknown, match=f"its {algorithm} should be {digest} and is"):
        imagenet.fetch_weights(name, pretrained(name).alpha, environment)


@pytest.mark.parametrize("content", [b"", b"no weights at all", None])
def test_weights_that_do_not_fit_are_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    if content is None:
        save(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), path)
    else:
        path.write_bytes(content)
    settings = pretrained("MobileNet")
    with pytest.raises(WeightsUnsuitable, match=r"weights\.h5 does not fit MobileNet: .*Delete it"):
        architectures.build_pretrained(settings, path)


class Asked(Exception):
    """What Keras would download."""


def asked(name: str, alpha: float | None) -> list[str]:
    """File name, URL and hash that Keras downloads for the weights."""

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_: str) -> str:
        raise Asked(json.dumps([fname, origin, file_hash]))

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        patch.setattr(file_utils, "get_file", get_file)
        # The values of the weights do not matter, and random ones take most of the time.
        patch.setattr(keras.src.random, "uniform", lambda shape, *_, **__: keras.ops.zeros(shape))
        patch.setattr(keras.src.random, "truncated_normal", lambda shape, *_, **__: keras.ops.zeros(shape))
        with pytest.raises(Asked) as caught:
            getattr(keras.applications, name)(
                weights="imagenet", **({} if alpha is None else {"alpha": alpha})
            )
    return list(json.loads(str(caught.value)))


@pytest.mark.parametrize(
    ("name", "alpha"),
    [
        pytest.param(
            name, alpha, marks=() if (name, alpha) == ("MobileNetV3Small", 0.75) else pytest.mark.slow
        )
        for name, family in FAMILIES.items()
        for alpha in (family.alphas or (None,))
    ],
)
def test_files_and_hashes_are_those_of_keras(name: str, alpha: float | None) -> None:
    family = FAMILIES[name]
    url = family.url(alpha)
    assert asked(name, alpha) == [family.cached_as or Path(url).name, url, family.hashes.get(alpha)]
