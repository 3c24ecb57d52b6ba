"""The user's own function makes the network; faults are named with the line of the user's file."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.documents import MODELS, section
from pipeline.errors import NetworkInvalid
from pipeline.network.backend import keras
from pipeline.network.user_network import build_user_network
from pipeline.stages import build as build_stage
from pipeline.stages import prepare
from tests.pipeline.projects import TINY, Project
from tests.pipeline.sample_images import write_class_folders

HEADER = "import keras\nfrom keras import layers\n\n"
CONVOLUTIONS = "    x = layers.Conv2D(4, 3, activation='relu')(inputs / 255.0)\n"
SIZE, CLASSES = 16, 3


def build(folder: Path, body: str, function: str = "network") -> keras.Model:
    """The network that a file with this function makes."""
    path = folder / "mine.py"
    path.write_text(f"{HEADER}def network(inputs, classes):\n{CONVOLUTIONS}{body}")
    return build_user_network(path, function, SIZE, 0.1, CLASSES)


@pytest.mark.parametrize(
    "body",
    [
        "    return x\n",
        "    return layers.GlobalMaxPooling2D()(x)\n",
        "    return layers.Dense(classes)(layers.GlobalAveragePooling2D()(x))\n",
        "    return layers.Dense(classes, activation='softmax')(layers.Flatten()(x))\n",
        "    return keras.ops.softmax(layers.Dense(classes)(layers.Flatten()(x)))\n",
        "    return keras.Model(inputs, layers.Dense(classes)(layers.Flatten()(x)))\n",
        "    return keras.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(classes)])\n",
        "    return keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35,\n"
        "        input_tensor=keras.layers.UpSampling2D(2)(inputs))\n",
    ],
    ids=["maps", "features", "logits", "softmax", "operation", "model", "sequential", "application"],
)
def test_what_it_may_return(tmp_path: Path, body: str) -> None:
    network = build(tmp_path, body)
    assert (network.input_shape, network.input.dtype) == ((None, SIZE, SIZE, 3), "uint8")
    pixels = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    probabilities = network.predict(pixels, verbose=0)
    assert probabilities.shape == (2, CLASSES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    return layers.Dens(classes)(x)\n", ["line 6: AttributeError", "Dens"]),
        ("    return layers.Dense(classes)(undefined)\n", ["line 6: NameError", "undefined"]),
        ("    return (x\n", ["line 6: '(' was never closed"]),
        ("    x = 1 / 0\n", ["line 6: ZeroDivisionError"]),
        ("    raise SystemExit('enough')\n", ["line 6: SystemExit: enough"]),
        ("    pass\n", ["it returns nothing instead of a tensor"]),
        ("    return [x, x]\n", ["it returns a list instead of a tensor"]),
        ("    return layers.Reshape((-1, 4))(x)\n", ["shape [None, 196, 4] instead of [N, 3]"]),
        ("    return keras.ops.mean(x, axis=(1, 2, 3))\n", ["shape [None] instead of [N, 3]"]),
        (
            "    return layers.Dense(classes, activation='sigmoid')(layers.Flatten()(x))\n",
            ["its 3 outputs", "come from sigmoid instead of a softmax"],
        ),
        ("    return layers.Lambda(lambda v: v * 2)(x)\n", ["Lambda", "method: import"]),
        (
            "    class Own(layers.Layer):\n        def call(self, v):\n            return v\n"
            "    return Own()(x)\n",
            ["layers or functions of its own", "Own"],
        ),
        ("    return keras.Input((7,))\n", ["does not make a network"]),
    ],
)
def test_a_fault_is_named(tmp_path: Path, body: str, words: list[str]) -> None:
    with pytest.raises(NetworkInvalid) as caught:
        build(tmp_path, body)
    assert f"{tmp_path / 'mine.py'}:network does not make a network" in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_function_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkInvalid, match="the file defines no function netwrok; it defines network"):
        build(tmp_path, "    return x\n", "netwrok")
    with pytest.raises(NetworkInvalid, match=r"there is no such file; put other\.py beside the photos"):
        build_user_network(tmp_path / "other.py", "network", SIZE, 0.1, CLASSES)


def test_the_file_beside_the_photos_is_trained_and_is_part_of_the_data(project: Project) -> None:
    shared = ("    alpha: 0.35\n    momentum: 0.9\n", "    network: mine.py:network\n")
    Path("params.yaml").write_text(TINY.replace(*shared))
    raw = Path("data/raw/tiny")
    write_class_folders(raw, images=12)
    source = f"{HEADER}def network(inputs, classes):\n{CONVOLUTIONS}    return x\n"
    digests = set()
    for text in (source, source.replace("(4, 3", "(5, 3")):
        (raw / "mine.py").write_text(text)
        prepare.main("tiny")
        digests.add((Path("data/prepared/tiny/files/mine.py")).read_text())
    assert len(digests) == 2
    build_stage.main("tiny")
    network = keras.saving.load_model("models/tiny/build/model.keras")
    assert [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)] == [5]


def test_the_documented_function_makes_a_network(tmp_path: Path) -> None:
    example = section(MODELS, "own network").removeprefix("```python\n").removesuffix("```\n")
    path = tmp_path / "my_net.py"
    path.write_text(example)
    assert build_user_network(path, "make", 64, 0.1, CLASSES).output_shape == (None, CLASSES)
