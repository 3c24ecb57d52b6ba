"""The 8-bit graph: the same bytes and predictions on every machine, and predictions close to float32."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from pipeline.network import architectures
from pipeline.network.backend import keras, tf
from pipeline.onnx import keras_to_onnx
from pipeline.onnx.quantisation import quantise, round_limit
from serving.model.decoder import Preprocessing, decode
from serving.model.predictor import create_session
from tests.pipeline.onnx.test_export_is_reproducible import FORGETFUL
from tests.pipeline.sample_images import COLOURS, draw_image
from tests.repo.imports import ROOT

QUANTISE = """
import sys
from pathlib import Path
import numpy as np
from pipeline.onnx.quantisation import quantise
folder = Path(sys.argv[1])
made = quantise((folder / "float.onnx").read_bytes(), np.load(folder / "pictures.npy"))
Path(sys.argv[2]).write_bytes(made)
"""
ANSWER = """
import sys
from pathlib import Path
import numpy as np
from serving.model.predictor import create_session
folder, exact = Path(sys.argv[1]), sys.argv[2] == "exact"
session = create_session((folder / "int8.onnx").read_bytes(), 1, exact)
np.save(folder / f"{sys.argv[2]}.npy", session.run(None, {"image": np.load(folder / "pictures.npy")})[0])
"""
# Of the gradient descent: enough that the network tells the classes apart, too little for certainty.
RATE, STEPS = 0.01, 20
# The oldest CPU for which ONNX Runtime has 8-bit kernels; it has no VNNI instructions.
OLD_CPU = ("qemu-x86_64", "-cpu", "Haswell")


def train(model: keras.Model, images: npt.NDArray[np.uint8], classes: npt.NDArray[np.int64]) -> None:
    """A few steps of gradient descent; Keras's `fit` would trace Adam, twice, which takes 15 s."""
    weights = [variable.value for variable in model.trainable_variables]

    def step() -> None:
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(classes, model(images, training=True))
            loss = tf.reduce_mean(losses)
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(RATE * gradient)

    traced = tf.function(step)
    for _ in range(STEPS):
        traced()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network in float32 and in 8 bits, and the images for calibration."""
    path = tmp_path_factory.mktemp("graphs")
    files = [
        draw_image(path / f"{colour}{seed}.png", colour, seed) for colour in COLOURS for seed in range(8)
    ]
    pictures = np.stack([decode(file.read_bytes(), Preprocessing.square(32, 1.0)) for file in files])
    keras.utils.set_random_seed(1)
    model = architectures.build_scratch(FORGETFUL, classes=len(COLOURS))
    # With random weights the differences between images would be as small as the quantisation error.
    train(model, pictures, np.repeat(np.arange(len(COLOURS)), 8))
    # BatchNorm learns the statistics of the images.
    model(pictures, training=True)
    (path / "float.onnx").write_bytes(keras_to_onnx.to_bytes(model))
    np.save(path / "pictures.npy", pictures)
    (path / "int8.onnx").write_bytes(quantise((path / "float.onnx").read_bytes(), pictures))
    return path


def answers(path: Path, exact: bool = False) -> npt.NDArray[np.float32]:
    """The predictions of a graph for the images in its folder."""
    session = create_session(path.read_bytes(), 1, exact)
    pictures = np.load(path.with_name("pictures.npy"))
    found: npt.NDArray[np.float32] = session.run(None, {"image": pictures})[0]
    return found


def python(*arguments: str, before: tuple[str, ...] = (), **variables: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [*before, sys.executable, "-c", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr


def test_bytes_depend_on_graph_and_images_alone(folder: Path, tmp_path: Path) -> None:
    # The quantiser iterates over sets of names, whose order depends on the hash seed: random in this process.
    one_core = ("taskset", "-c", "0") if sys.platform == "linux" else ()
    python(QUANTISE, str(folder), str(tmp_path / "made"), before=one_core, PYTHONHASHSEED="1")
    made, expected = (file.read_bytes() for file in (tmp_path / "made", folder / "int8.onnx"))
    assert hashlib.sha256(made).hexdigest() == hashlib.sha256(expected).hexdigest()


def test_graph_has_the_contract_of_the_bundle(folder: Path) -> None:
    model = onnx.load(folder / "int8.onnx")
    (image,), (probabilities,) = model.graph.input, model.graph.output
    assert (image.name, probabilities.name) == ("image", "probabilities")
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["batch", 32, 32, 3]
    # No operators of ONNX Runtime's own domain, so that every runtime can load it.
    assert {entry.domain for entry in model.opset_import} == {""}
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


def test_layers_are_in_eight_bits_and_their_ends_are_not(folder: Path) -> None:
    graph = onnx.load(folder / "int8.onnx").graph
    maker = {name: node.op_type for node in graph.node for name in node.output}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [
        [maker.get(name) for name in node.input] for node in graph.node if node.op_type in ("Conv", "Gemm")
    ]
    assert Counter(made for names in inputs for made in names) == {"DequantizeLinear": 3 * len(inputs)}
    kernels = [t for t in tensors.values() if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]
    assert len(kernels) == len(inputs)
    # Per channel: a kernel has as many scales as outputs.
    assert sum(len(t.dims) == 1 for t in tensors.values() if t.data_type == onnx.TensorProto.FLOAT) > len(
        inputs
    )
    # The softmax is computed in float64, so that all CPUs give the same probabilities.
    assert [node.op_type for node in graph.node[-3:]] == ["Cast", "Softmax", "Cast"]
    assert maker[graph.node[-3].input[0]] == "Gemm"


def test_answers_are_near_those_of_float32(folder: Path) -> None:
    exact, near = answers(folder / "float.onnx"), answers(folder / "int8.onnx")
    assert np.corrcoef(np.log(exact).ravel(), np.log(near).ravel())[0, 1] > 0.98
    assert np.abs(exact - near).mean() < 0.1
    # The softmax is not quantised: in steps of 1/255 the sum would not be 1.
    np.testing.assert_allclose(near.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(near, axis=0).max() > 0.1


def test_slower_kernels_give_the_same_answers(folder: Path) -> None:
    np.testing.assert_array_equal(answers(folder / "int8.onnx", exact=True), answers(folder / "int8.onnx"))


needs_emulator = pytest.mark.skipif(
    shutil.which(OLD_CPU[0]) is None or os.uname().machine != "x86_64",
    reason="needs qemu-x86_64 to be another CPU",
)


# Slow: Python and ONNX Runtime take half a minute on an emulated CPU. The test above uses the kernels
# that older CPUs need.
@pytest.mark.slow
@needs_emulator
def test_a_cpu_without_vnni_gives_the_same_answers(folder: Path) -> None:
    for way in ("exact", "fast"):
        python(ANSWER, str(folder), way, before=OLD_CPU)
    here = answers(folder / "int8.onnx")
    np.testing.assert_array_equal(np.load(folder / "exact.npy"), here)
    # The saturation that `exact` avoids.
    assert np.abs(np.load(folder / "fast.npy") - here).max() > 1e-3


@pytest.mark.slow
@needs_emulator
def test_a_cpu_without_vnni_makes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    python(QUANTISE, str(folder), str(tmp_path / "made"), before=OLD_CPU)
    assert (tmp_path / "made").read_bytes() == (folder / "int8.onnx").read_bytes()


def test_ranges_are_rounded_a_little() -> None:
    values = np.random.default_rng(5).normal(0, 10, 1000).astype(np.float32)
    assert np.abs(round_limit(values) / values - 1).max() <= 2**-8
    # A difference in the last digit between CPUs rarely changes the result.
    assert (round_limit(values) == round_limit(np.nextafter(values, np.float32(np.inf)))).mean() > 0.99
    assert round_limit(np.array([0.0, 6.0, -1.0, 1e-30], np.float32)).tolist()[:3] == [0.0, 6.0, -1.0]
