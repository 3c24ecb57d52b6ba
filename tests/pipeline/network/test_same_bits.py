"""Training gives the same bits whatever the order of its sums: threads, kernels, CPUs."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline import params
from pipeline.errors import TrainingDiverged
from pipeline.network.backend import keras, tf
from pipeline.network.reproducible import (
    FINEST_GRADIENT,
    GRADIENT_BITS,
    WEIGHT_GRID,
    RoundedAdam,
    float64,
    gradient_step,
    rounded_gradient,
    rounded_weights,
)
from pipeline.stages import build
from serving.artifact.bundle import Label
from serving.model.decoder import Preprocessing
from tests.pipeline.projects import Project, copy_of_the_working_tree
from tests.pipeline.sample_images import write_class_folders
from tests.repo.imports import ROOT

FINE = 2.0**FINEST_GRADIENT
# The largest value of these gradients is in [1, 2).
STEP = 2.0**-GRADIENT_BITS
SMALLEST = np.finfo(np.float64).smallest_subnormal


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1.0, 0.3], [1.0, round(0.3 / STEP) * STEP]),
        # Ties go to the even neighbour.
        ([1.0, 0.5 * STEP, 1.5 * STEP, -2.5 * STEP], [1.0, 0.0, 2 * STEP, -2 * STEP]),
        # The grid follows the largest value, up to the next power of two.
        ([1.999, 0.4 * STEP], [round(1.999 / STEP) * STEP, 0.0]),
        ([2.0, 1.2 * STEP, 1.6 * STEP], [2.0, 2 * STEP, 2 * STEP]),
        ([-1024.0, 1.0, 0.1], [-1024.0, 1.0, 0.0]),
        # Below the finest grid there is nothing: rounding errors and subnormal numbers.
        ([1e-15, -1e-18, SMALLEST], [0.0, 0.0, 0.0]),
        ([0.6 * FINE, 0.4 * FINE], [FINE, 0.0]),
        ([0.0, -0.0], [0.0, 0.0]),
        ([], []),
    ],
)
def test_a_gradient_is_rounded_to_its_grid(given: list[float], expected: list[float]) -> None:
    found = rounded_gradient(tf.constant(given, tf.float64)).numpy()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, -np.nan])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    assert not np.isfinite(rounded_gradient(tf.constant([bad, 1.0], tf.float64)).numpy()[0])


@pytest.mark.parametrize("exponent", [-1000, -37, -24, 0, 1, 900])
def test_the_grid_is_the_power_of_two_below_the_largest_value(exponent: int) -> None:
    for value in (2.0**exponent, np.nextafter(2.0 ** (exponent + 1), 0)):
        step = float(gradient_step(tf.constant([value, -value / 3], tf.float64)))
        assert step == 2.0 ** max(exponent - GRADIENT_BITS, FINEST_GRADIENT)


def test_weights_are_rounded_without_negative_zeros() -> None:
    with float64():
        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    network.set_weights([np.array([[-WEIGHT_GRID / 4], [0.3], [WEIGHT_GRID / 2]])])
    (weights,) = rounded_weights(network)
    assert weights.tolist() == [[0.0], [round(0.3 / WEIGHT_GRID) * WEIGHT_GRID], [0.0]]
    assert not np.signbit(weights).any()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    write_class_folders(folder / "train", images=8)
    write_class_folders(folder / "valid", images=2)
    return folder


def settings(learning_rate: float = 0.003) -> params.Scratch:
    found = params.load(ROOT / "params.yaml").for_model("digits").build
    assert isinstance(found, params.Scratch)
    training = found.training.model_copy(update={"epochs": 1, "learning_rate": learning_rate})
    return found.model_copy(update={"size": 32, "batch": 8, "dropout": 0.0, "training": training})


def test_a_training_that_diverges_is_found(prepared: Path, tmp_path: Path) -> None:
    labels = [Label(path.name, path.name) for path in sorted((prepared / "train").iterdir())]
    with pytest.raises(TrainingDiverged):
        build.train(
            lambda: small_network(32),
            settings(1e300),
            prepared,
            labels,
            Preprocessing.square(32, 1.0),
            tmp_path,
        )


def small_network(size: int) -> Any:  # noqa: ANN401
    image = value = keras.Input((size, size, 3), dtype="uint8")
    for layer in (
        keras.layers.Rescaling(1 / 127.5, offset=-1),
        keras.layers.Conv2D(8, 3, strides=2, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(6),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation="softmax"),
    ):
        value = layer(value)
    return keras.Model(image, value)


def trained(pixels: npt.NDArray[np.uint8], classes: npt.NDArray[np.int64]) -> list[npt.NDArray[np.float64]]:
    """The weights of a small network after some steps, not rounded."""
    keras.utils.set_random_seed(1)
    with float64():
        network = small_network(16)
        network.compile(RoundedAdam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
        network.fit(pixels, classes, batch_size=len(classes), epochs=12, shuffle=False, verbose=0)
    weights: list[npt.NDArray[np.float64]] = network.get_weights()
    return weights


def test_another_order_of_sums_gives_the_same_weights() -> None:
    """The images of a batch in another order give other sums, as other threads or kernels do."""
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (96, 16, 16, 3), np.uint8)
    classes = random.integers(0, 3, 96)
    order = random.permutation(96)
    one, other = trained(pixels, classes), trained(pixels[order], classes[order])
    # What is trained agrees to the last bit, since the gradients were rounded. Only the moving averages of
    # BatchNorm differ, by rounding errors that do not feed back.
    assert [np.array_equal(a, b) for a, b in zip(one, other, strict=True)] == [True] * 3 + [False] * 2 + [
        True
    ] * 2
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(np.round(a / WEIGHT_GRID), np.round(b / WEIGHT_GRID))


def sample(folder: Path, prepared: Path, name: str, *numbers: int, **variables: str) -> tuple[str, Path]:
    """Trains `digits` in a process of its own; returns the digests that it printed, and its file."""
    command = [sys.executable, "-m", "tests.pipeline.network.sampled_training", "digits", str(prepared)]
    target = folder / f"{name}.npz"
    done = subprocess.run(
        [*command, *map(str, numbers), str(target)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, target


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared images of `digits`."""
    project = copy_of_the_working_tree(tmp_path_factory.mktemp("digits") / "project")
    project.succeed(sys.executable, "-m", "pipeline.stages.prepare", "digits")
    return project.root / "data/prepared/digits"


OTHER_KERNELS = {"TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}


# Slow: 2 minutes of computing for two epochs with each of the settings.
@pytest.mark.slow
def test_threads_and_kernels_do_not_matter(digits: Path, tmp_path: Path) -> None:
    ways = ({"THREADS": "1"}, {"THREADS": "2"}, {"THREADS": "3"}, {"THREADS": "2", **OTHER_KERNELS})
    found = {sample(tmp_path, digits, str(n), 2, 42, **variables)[0] for n, variables in enumerate(ways)}
    assert len(found) == 1


# Slow: two whole trainings, 5 minutes.
@pytest.mark.slow
def test_a_training_in_which_rounding_fails_is_rare(digits: Path, tmp_path: Path) -> None:
    epochs, every = settings_of_digits().training.epochs, 15
    one, other = (
        sample(tmp_path, digits, name, epochs, every, **variables)
        for name, variables in (("one", {"THREADS": "2"}), ("other", {"THREADS": "1", **OTHER_KERNELS}))
    )
    assert one[0] == other[0]
    before, now = (np.load(file) for _, file in (one, other))
    assert (before["gradients"] != now["gradients"]).any()
    # A training has `every` times as many steps as were sampled.
    assert every * expected_ties(before["gradients"], now["gradients"], before["sizes"]) < 1e-3


def settings_of_digits() -> params.Scratch:
    found = params.load(ROOT / "params.yaml").for_model("digits").build
    assert isinstance(found, params.Scratch)
    return found


def expected_ties(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64]
) -> float:
    """The number of gradients that two computations are expected to round differently in the sampled steps.

    A difference d moves a value over the middle between two grid points with a probability of d / step,
    unless the value is too small to reach the first middle, at half a step.
    """
    total = 0.0
    for before, now in zip(one, other, strict=True):
        begins = np.cumsum(sizes)[:-1]
        for gradient, again in zip(np.split(before, begins), np.split(now, begins), strict=True):
            step = float(gradient_step(tf.constant(gradient)))
            difference = np.abs(gradient - again)
            total += float(difference[np.abs(gradient) + difference > 0.49 * step].sum()) / step
    return total


HOUR = 3600
# Runs a stage. /proc/cpuinfo has the features of the real CPU, so the process is told that it lacks VNNI.
WITHOUT_VNNI = """
import runpy, sys
from serving.model import cpu_features
cpu_features.int8_may_saturate = lambda: True
del sys.argv[0]
runpy.run_module(f"pipeline.stages.{sys.argv[0]}", run_name="__main__")
"""
# The oldest CPU with AVX2, and one of another maker with caches of other sizes.
CPUS = ("Haswell", "EPYC-Milan")


# Slow: all stages on an emulated CPU take eight minutes, and more than ten on a busy machine.
@pytest.mark.slow
@pytest.mark.timeout(3 * HOUR)
@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None or os.uname().machine != "x86_64",
    reason="needs qemu-x86_64 to be another CPU",
)
def test_another_cpu_gives_the_same_files(built: Project, tmp_path: Path, cpu: str) -> None:
    """A training that is shortened to one epoch; bundle, reports and curves agree to the byte."""
    clone = replace(built.clone(tmp_path / "clone"), timeout=2 * HOUR)
    for stage in ("prepare", "build", "export", "evaluate"):
        clone.succeed("qemu-x86_64", "-cpu", cpu, sys.executable, "-c", WITHOUT_VNNI, stage, "tiny")
    assert clone.changes() == ""
    manifest = "models/tiny/bundle/manifest.json"
    assert (clone.root / manifest).read_bytes() == (built.root / manifest).read_bytes()
