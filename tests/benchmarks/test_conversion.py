"""Networks of keras.applications give the same answers in Keras and in ONNX; the table shows the results."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks import conversion
from benchmarks.documents import MODELS, README, section
from pipeline.network import architectures
from pipeline.network.backend import keras
from pipeline.network.families import FAMILIES
from pipeline.onnx import keras_to_onnx
from serving.model.predictor import create_session
from tests.pipeline.network.random_weights import coloured_noise, randomise

ConvNeXt = keras.src.applications.convnext.ConvNeXt
SIZE = 64


@pytest.fixture(autouse=True)
def released_memory() -> Iterator[None]:
    """Keras keeps the graphs of all models until this is called."""
    yield
    keras.backend.clear_session()


def small_convnext(image: keras.KerasTensor) -> keras.Model:
    """One block of each stage. At this size the last maps have 2 x 2 pixels."""
    return ConvNeXt(
        depths=[1, 1, 1, 1],
        projection_dims=[16, 32, 64, 128],
        weights=None,
        input_tensor=image,
        classes=10,
        classifier_activation="softmax",
    )


# The smallest of those whose layers are found in no other network here.
@pytest.mark.parametrize("name", ["MobileNetV3Small", "ConvNeXt"])
def test_small_networks_give_the_same_answers(name: str) -> None:
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    if name == "ConvNeXt":
        base = small_convnext(image)
    else:
        scaled = architectures.scale(image, FAMILIES[name])
        base = getattr(keras.applications, name)(
            weights=None, input_tensor=scaled, input_shape=(SIZE, SIZE, 3)
        )
    network = keras.Model(image, base.output)
    images = coloured_noise(8, SIZE, seed=1)
    randomise(network, images[:4], seed=2)
    expected = network.predict(images[4:], verbose=0)
    assert np.ptp(expected, axis=0).max() > 0.1

    graph = keras_to_onnx.to_bytes(network)
    (found,) = create_session(graph, 1, False).run(None, {"image": images[4:]})
    np.testing.assert_allclose(found, expected, atol=conversion.MAX_DIFFERENCE)


# Slow: up to five minutes each. The test above converts the smallest two in the same way.
@pytest.mark.slow
@pytest.mark.parametrize("name", conversion.ARCHITECTURES)
def test_networks_of_keras_give_the_same_answers_in_bounded_memory(name: str) -> None:
    measured = conversion.measure(name)
    assert measured["compare"]["difference"] < conversion.MAX_DIFFERENCE
    assert measured["compare"]["spread"] > 0.01
    # 1 GB for any network; kernels of convolutions are copied up to 20 times, those of large layers are not.
    weights_mb = 4 * measured["prepare"]["parameters"] / 1e6
    assert measured["convert"]["peak_mb"] < min(1300 + 25 * weights_mb, 6000)
    assert measured["compare"]["int8"]["logit_error"] < 1


def test_equal_probabilities_have_no_error() -> None:
    random = np.random.default_rng(1)
    exact = random.dirichlet(np.ones(10), 5).astype(np.float32)
    assert conversion.compare_probabilities(exact, exact) == {
        "divergence": 0,
        "logit_error": 0,
        "same_top1": 1,
    }
    flat = np.full_like(exact, 0.1)
    compared = conversion.compare_probabilities(exact, flat)
    assert compared["logit_error"] == pytest.approx(1, abs=0.4)
    assert compared["divergence"] > 0.1


def test_the_table_shows_the_results() -> None:
    results = json.loads(conversion.RESULTS.read_text())
    assert list(results["networks"]) == [conversion.TRAINED, *conversion.ARCHITECTURES]
    assert section(MODELS, "conversion") == conversion.table(results)
    assert section(README, "families") == conversion.short_table(results)
    for name, measured in results["networks"].items():
        assert measured["compare"]["difference"] < conversion.MAX_DIFFERENCE, name
        assert measured["convert"]["peak_mb"] < 6000, name


def test_the_documented_families_are_those_on_offer() -> None:
    text = MODELS.read_text()
    begin = text.index("| `architecture` |")
    documented = {}
    for row in text[begin : text.index("\n\n", begin)].splitlines()[2:]:
        _, names, sizes, scaling, _ = (cell.strip() for cell in row.split("|"))
        of_each = sizes.split(", ") * (1 if ", " in sizes else len(names.split(", ")))
        for name, size in zip(names.replace("`", "").split(", "), of_each, strict=True):
            documented[name] = (int(size), scaling.partition(":")[0].replace("by the network", "inside"))
    assert documented == {name: (family.size, family.scaling) for name, family in FAMILIES.items()}
