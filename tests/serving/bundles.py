"""A tiny valid bundle, made without TensorFlow. Its model predicts the dominant colour of an image."""

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from serving.artifact.files import to_json
from serving.artifact.head import Head
from serving.artifact.manifest import (
    CONFIDENCE,
    EXPLANATION,
    FORMAT,
    GOLDEN,
    GRAPH,
    HEAD,
    LABELS,
    MANIFEST,
    PREPROCESSING,
    Manifest,
    ManifestFile,
)
from serving.model.preprocessing import Preprocessing
from tests.serving.images import encode_image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SIZE = 8
# High probabilities (0.96 for a pure colour) that are still below 1 in float32.
STEEPNESS = 4.0
TOLERANCE = 0.005
# The versions that the pipeline exports.
OPSET, IR_VERSION = 18, 10


IMAGES = 99
SHARES = [number / 20 for number in range(21)]


def in_one_bin(edges: list[float], value: float) -> dict[str, Any]:
    """A histogram that has all images in the bin of one value."""
    counts = [IMAGES if low <= value < high else 0 for low, high in pairwise(edges)]
    return {"edges": edges, "counts": counts, "images": IMAGES}


# As if validated on `one_colour_png` of each colour, 12 x 10 pixels. A pure colour has a probability of 0.96
# and an energy of 4.0, yellow twice 0.50 and 4.7, black three times 0.33 and 1.1.
CONFIDENCE_DOCUMENT: dict[str, Any] = {
    "temperature": {"value": 1.0, "images": IMAGES},
    "label_sets": [
        {"level": 0.9, "quantile": 0.3, "images": IMAGES},
        {"level": 0.95, "quantile": 0.7, "images": IMAGES},
    ],
    "energy": {"threshold": 3.0, "share": 0.0, "clip": None, "images": IMAGES},
    "reference": {
        "classes": [33, 33, 33],
        "confidence": in_one_bin(SHARES, 0.96),
        "energy": in_one_bin([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 4.04),
        "brightness": in_one_bin(SHARES, 1 / 3),
        "size": in_one_bin([8.0, 11.3, 16.0, 22.6, 32.0], 10.95),
        "images": IMAGES,
    },
}
SQUARE = Preprocessing.square(SIZE, crop=1.0)


def write_bundle(
    folder: Path,
    name: str = "colours",
    steepness: float = STEEPNESS,
    extra: Mapping[str, bytes] | None = None,
    preprocessing: Preprocessing = SQUARE,
    bundle_format: int = FORMAT,
    trusted: bool = True,
) -> Path:
    """Writes a complete bundle. Its digest depends on all arguments but the folder.

    `trusted`: with confidence and explanation, which format 1 does not have.
    """
    trusted = trusted and bundle_format > 1
    files = bundle_files(steepness, preprocessing, bundle_format, trusted)
    write_files(folder, files | dict(extra or {}))
    return write_manifest(folder, name, preprocessing.shape, bundle_format=bundle_format)


def bundle_files(
    steepness: float = STEEPNESS,
    preprocessing: Preprocessing = SQUARE,
    bundle_format: int = FORMAT,
    trusted: bool = True,
) -> dict[str, bytes]:
    """The files of a bundle, without the manifest."""
    images = {f"{number}.png": rgb for number, rgb in enumerate(COLOURS.values())}
    channels = preprocessing.channels
    recorded = [
        {"file": file, "probabilities": expected_probabilities(rgb, steepness, channels).round(3).tolist()}
        for file, rgb in images.items()
    ]
    folder = GOLDEN.rsplit("/", 1)[0]
    head = Head(head_kernel(steepness, channels), np.zeros(len(COLOURS), np.float32))
    optional = {
        CONFIDENCE: to_json(CONFIDENCE_DOCUMENT),
        EXPLANATION: explanation(preprocessing.shape),
        HEAD: head.to_bytes(),
    }
    return {
        GRAPH: onnx_graph(steepness, preprocessing.shape, energy=trusted),
        **(optional if trusted else {}),
        LABELS: to_json([{"id": f"c{number}", "name": name} for number, name in enumerate(COLOURS)]),
        PREPROCESSING: preprocessing_json(preprocessing, bundle_format),
        GOLDEN: to_json({"tolerance": TOLERANCE, "images": recorded}),
        **{f"{folder}/{file}": one_colour_png(rgb) for file, rgb in images.items()},
    }


def preprocessing_json(preprocessing: Preprocessing, bundle_format: int = FORMAT) -> bytes:
    """The file `preprocessing.json` as the pipeline of this format writes it."""
    if bundle_format > 1:
        return to_json(preprocessing.to_json())
    size, crop = preprocessing.height, preprocessing.crop
    assert preprocessing == Preprocessing.square(size, crop)
    return to_json({"size": size, "crop": crop, "interpolation": "bicubic"})


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a bundle's folder, without updating the manifest."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_manifest(
    folder: Path,
    name: str = "colours",
    shape: tuple[int, int, int] = (SIZE, SIZE, 3),
    classes: int = len(COLOURS),
    bundle_format: int = FORMAT,
    energy: bool | None = None,
) -> Path:
    """Writes the manifest for the files in the folder, whatever their content.

    `energy`: the graph's output, by default there if there is a confidence, as `write_bundle` has it.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name_in_bundle = path.relative_to(folder).as_posix()
        if path.is_file() and name_in_bundle != MANIFEST:
            role = "serving" if name_in_bundle.startswith("serving/") else "mlflow"
            data = path.read_bytes()
            files[name_in_bundle] = ManifestFile(role, hashlib.sha256(data).hexdigest(), len(data))
    has_energy = bundle_format > 1 and CONFIDENCE in files if energy is None else energy
    manifest = Manifest(name, files, shape, classes, has_energy, bundle_format)
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return folder


def onnx_graph(
    steepness: float = STEEPNESS,
    shape: tuple[int, int, int] = (SIZE, SIZE, 3),
    kind: int = TensorProto.UINT8,
    image: str = "image",
    energy: bool = False,
) -> bytes:
    """The model as ONNX: softmax of the mean red, green and blue, scaled to 0 ... `steepness`.

    `energy` adds the optional output of format 2.
    """
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(COLOURS)])]
    nodes = [
        helper.make_node("Cast", [image], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {"weights": head_kernel(steepness, shape[2]), "sides": np.array([1, 2], dtype=np.int64)}
    if energy:
        nodes.append(helper.make_node("ReduceLogSumExp", ["logits", "classes"], ["energy"], keepdims=0))
        outputs.append(helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["batch"]))
        constants["classes"] = np.array([1], dtype=np.int64)
    made = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info(image, kind, ["batch", *shape])],
        outputs,
        [numpy_helper.from_array(constant, name) for name, constant in constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(model.SerializeToString(deterministic=True))


def explanation(shape: tuple[int, int, int] = (SIZE, SIZE, 3)) -> bytes:
    """What is added to the graph for the output `features`: the pixels, whose means the last layer gets."""
    added = onnx.ModelProto()
    added.graph.node.append(helper.make_node("Identity", ["pixels"], ["features"]))
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", *shape])
    added.graph.output.append(output)
    return bytes(added.SerializeToString(deterministic=True))


def head_kernel(steepness: float = STEEPNESS, channels: int = 3) -> npt.NDArray[np.float32]:
    """The weights of the model [channels,3]. From one channel, grey: red is dark, blue is light."""
    weights = np.eye(len(COLOURS)) if channels == 3 else np.array([[-1.0, 0.0, 1.0]])
    return (steepness / 255 * weights).astype(np.float32)


def expected_probabilities(
    rgb: tuple[int, int, int], steepness: float = STEEPNESS, channels: int = 3
) -> npt.NDArray[np.float64]:
    """The model's probabilities for an image of one colour, computed without ONNX."""
    means = rgb if channels == 3 else Image.new("RGB", (1, 1), rgb).convert("L").getpixel((0, 0))
    powers = np.exp(np.atleast_1d(np.array(means, dtype=np.float64)) @ head_kernel(steepness, channels))
    probabilities: npt.NDArray[np.float64] = powers / powers.sum()
    return probabilities


def one_colour_png(rgb: tuple[int, int, int]) -> bytes:
    """A PNG of one colour."""
    return encode_image(Image.new("RGB", (12, 10), rgb), "PNG")
