"""Converts networks of keras.applications: `python -m benchmarks.conversion [name ...]`.

Weights are random, because those of most families are large downloads, but such that answers differ between
images as those of a trained network do, and BatchNorm has the statistics of the images with noise. So faults
of the conversion show. The error of 8 bits is exaggerated by random weights, as the two rows of MobileNetV2
show, one of them with its ImageNet weights. Times are CPU seconds, which depend less on what else is running.

Each step runs in a process of its own, one network after the other. Writes `benchmarks/conversion.json` and a
table in `docs/models.md`; with names, only their rows are measured again.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.commands import run_module
from benchmarks.documents import MODELS, README, markdown_table, replace_section, write_json

RESULTS = Path(__file__).with_name("conversion.json")
ARCHITECTURES = (
    *(
        "MobileNetV2",
        "MobileNetV3Small",
        "MobileNetV3Large",
        "EfficientNetB0",
        "EfficientNetV2B0",
        "ResNet50",
    ),
    *("ResNet50V2", "DenseNet121", "Xception", "InceptionV3", "NASNetMobile", "ConvNeXtTiny", "VGG16"),
)
TRAINED = "MobileNetV2, ImageNet weights"
PHOTOS = "datasets/bc69043e2862758a1906c6a24a792bb28c6bb2ff.zip"
# Photos for BatchNorm and calibration, and others to compare on.
CALIBRATION, COMPARED = 8, 8
# The largest difference of probabilities that rounding of float32 explains; random weights amplify it. A
# graph that is wrong differs as much as answers for different photos do.
MAX_DIFFERENCE = 1e-3
COLUMNS = ("network", "pixels", "parameters", "Keras and ONNX", "to ONNX", "to 8 bits", "error of 8 bits")

Probabilities = npt.NDArray[np.float32]


def prepare(name: str, folder: Path, size: int | None) -> dict[str, Any]:
    """Writes the network, images and Keras's answers to the folder."""
    from pipeline.network import keras_archive
    from tests.pipeline.network.random_weights import randomise

    network = _network(name, size)
    images = _images(network.input_shape[1])
    np.save(folder / "images.npy", images)
    if name != TRAINED:
        randomise(network, images[:CALIBRATION], seed=1)
    np.save(folder / "keras.npy", network.predict(images[CALIBRATION:], batch_size=4, verbose=0))
    (folder / "model.keras").write_bytes(keras_archive.to_bytes(network))
    return {"size": network.input_shape[1], "parameters": network.count_params()}


def convert(_name: str, folder: Path, _size: int | None) -> dict[str, Any]:
    """Does what `export` does with the network."""
    from pipeline.network.backend import keras
    from pipeline.onnx import keras_to_onnx

    network = keras.saving.load_model(folder / "model.keras", compile=False)
    began = time.process_time()
    graph = keras_to_onnx.to_bytes(network)
    seconds = time.process_time() - began
    (folder / "float.onnx").write_bytes(graph)
    return {"seconds": seconds, "peak_mb": peak_memory_mb(), "megabytes": len(graph) / 1e6}


def quantise(_name: str, folder: Path, _size: int | None) -> dict[str, Any]:
    """The 8-bit graph, calibrated on the first images."""
    from pipeline.onnx.quantisation import quantise as to_eight_bits

    images = np.load(folder / "images.npy")[:CALIBRATION]
    began = time.process_time()
    graph = to_eight_bits((folder / "float.onnx").read_bytes(), images)
    seconds = time.process_time() - began
    (folder / "int8.onnx").write_bytes(graph)
    return {"seconds": seconds, "peak_mb": peak_memory_mb(), "megabytes": len(graph) / 1e6}


def compare(_name: str, folder: Path, _size: int | None) -> dict[str, Any]:
    """Answers of both graphs for the last images, against Keras's."""
    images = np.load(folder / "images.npy")[CALIBRATION:]
    expected = np.load(folder / "keras.npy")
    exact, near = (_answer(folder / f"{precision}.onnx", images) for precision in ("float", "int8"))
    return {
        "difference": float(np.abs(exact - expected).max()),
        "spread": float(np.ptp(expected, axis=0).max()),
        "int8": compare_probabilities(exact, near),
    }


def compare_probabilities(exact: Probabilities, near: Probabilities) -> dict[str, float]:
    """How far the second are from the first, [N,K] each: three measures.

    `divergence` is the mean Kullback-Leibler divergence in nats, `logit_error` the error of the logits
    relative to their standard deviation over images, `same_top1` the share of images.
    """
    logits, others = np.log(exact + 1e-12), np.log(near + 1e-12)
    # Without the constant that a softmax ignores.
    centred, changed = (values - values.mean(axis=1, keepdims=True) for values in (logits, others))
    spread = np.sqrt(np.mean((centred - centred.mean(axis=0)) ** 2))
    return {
        "divergence": float((exact * (logits - others)).sum(axis=1).mean()),
        "logit_error": float(np.sqrt(np.mean((centred - changed) ** 2)) / spread),
        "same_top1": float((exact.argmax(axis=1) == near.argmax(axis=1)).mean()),
    }


STEPS: dict[str, Callable[[str, Path, int | None], dict[str, Any]]] = {
    step.__name__: step for step in (prepare, convert, quantise, compare)
}


def measure(name: str, size: int | None = None) -> dict[str, Any]:
    """All steps, each in its own process. `size` replaces the published one."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="goldfish-") as folder:
        for step in STEPS:
            printed = run_module("benchmarks.conversion", "--step", step, folder, size or 0, name)
            results[step] = json.loads(printed.splitlines()[-1])
    return results


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far (Linux)."""
    status = Path("/proc/self/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def _network(name: str, size: int | None) -> Any:  # noqa: ANN401
    from pipeline.environment import Environment
    from pipeline.network import architectures, imagenet
    from pipeline.network.backend import keras
    from pipeline.network.families import FAMILIES
    from pipeline.params import Pretrained

    if name == TRAINED:
        weights = imagenet.fetch_weights("MobileNetV2", 1.0, Environment.read())
        settings = Pretrained(method="pretrained", size=224, crop=0.875, alpha=1.0)
        return architectures.build_pretrained(settings, weights.path)
    family = FAMILIES[name]
    side = size or family.size
    image = keras.Input((side, side, 3), dtype="uint8", name="image")
    keras.utils.set_random_seed(1)
    base = getattr(keras.applications, name)(weights=None, input_tensor=architectures.scale(image, family))
    return keras.Model(image, base.output)


def _images(size: int) -> npt.NDArray[np.uint8]:
    """Photos from Keras's cache, or generated images if there are none: uint8 [N,size,size,3]."""
    from serving.model.decoder import Preprocessing, decode
    from tests.pipeline.network.random_weights import coloured_noise

    count = CALIBRATION + COMPARED
    archive = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / PHOTOS
    if not archive.is_file():
        return coloured_noise(count, size, seed=1)
    with zipfile.ZipFile(archive) as photos:
        names = sorted(name for name in photos.namelist() if name.endswith(".JPEG"))
        # From all parts of the archive, whose order is that of the classes.
        chosen = names[:: len(names) // count][:count]
        return np.stack([decode(photos.read(name), Preprocessing.square(size, 0.875)) for name in chosen])


def _answer(graph: Path, images: npt.NDArray[np.uint8]) -> Probabilities:
    from serving.model.predictor import create_session

    session = create_session(graph.read_bytes(), 1, False)
    return np.concatenate([session.run(None, {"image": image[np.newaxis]})[0] for image in images])


def table(results: dict[str, Any]) -> str:
    """The section of docs/models.md."""
    return markdown_table(COLUMNS, [_row(name, row) for name, row in results["networks"].items()])


def short_table(results: dict[str, Any]) -> str:
    """The section of README.md: difference to Keras, and cost of the conversions."""
    columns = ("network", "Keras = ONNX, within", "conversion", "to 8 bits")
    rows = [
        (
            name,
            f"{row['compare']['difference']:.0e}",
            *(
                f"{row[step]['seconds']:.0f} s, {row[step]['peak_mb'] / 1000:.1f} GB"
                for step in ("convert", "quantise")
            ),
        )
        for name, row in results["networks"].items()
    ]
    return markdown_table(columns, rows)


def _row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    eight, compared = row["quantise"], row["compare"]
    error = compared["int8"]
    return (
        name,
        f"{row['prepare']['size']}",
        f"{row['prepare']['parameters'] / 1e6:.1f} million",
        f"{compared['difference']:.0e}",
        *(
            f"{step['seconds']:.0f} s, {step['peak_mb'] / 1000:.1f} GB, {step['megabytes']:.0f} MB"
            for step in (row["convert"], eight)
        ),
        f"{100 * error['logit_error']:.0f} % ({error['divergence']:.3f})",
    )


def main(arguments: list[str]) -> int:
    """Measures all or some networks, or runs one step."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help="networks; default: all")
    # For the processes that this one starts.
    parser.add_argument("--step", nargs=3, metavar=("STEP", "FOLDER", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        step, folder, size = given.step
        print(json.dumps(STEPS[step](given.names[0], Path(folder), int(size) or None)))
        return 0
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"networks": {}}
    everything = (TRAINED, *ARCHITECTURES)
    if unknown := set(given.names) - set(everything):
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(everything)}")
    for name in given.names or everything:
        print(f"{name} ...", flush=True)
        results["networks"][name] = measure(name)
        print(f"    {results['networks'][name]}", flush=True)
        ordered = {key: results["networks"][key] for key in everything if key in results["networks"]}
        write_json(RESULTS, {"photos": COMPARED, "networks": ordered})
    results = json.loads(RESULTS.read_text())
    replace_section(MODELS, "conversion", table(results))
    replace_section(README, "families", short_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
