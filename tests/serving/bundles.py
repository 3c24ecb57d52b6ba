"""A tiny valid bundle, made without TensorFlow. Its model predicts the dominant colour of an image."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from serving.artifact.files import to_json
from serving.artifact.manifest import GOLDEN, GRAPH, LABELS, MANIFEST, PREPROCESSING, Manifest, ManifestFile
from tests.serving.images import encode_image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SIZE = 8
# High probabilities (0.96 for a pure colour) that are still below 1 in float32.
STEEPNESS = 4.0
TOLERANCE = 0.005
# The versions that the pipeline exports.
OPSET, IR_VERSION = 18, 10


def write_bundle(
    folder: Path,
    name: str = "colours",
    steepness: float = STEEPNESS,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes a complete bundle. Its digest depends on name, steepness and extra files."""
    write_files(folder, bundle_files(steepness) | dict(extra or {}))
    return write_manifest(folder, name)


def bundle_files(steepness: float = STEEPNESS) -> dict[str, bytes]:
    """The files of a bundle, without the manifest."""
    images = {f"{number}.png": rgb for number, rgb in enumerate(COLOURS.values())}
    recorded = [
        {"file": file, "probabilities": expected_probabilities(rgb, steepness).round(3).tolist()}
        for file, rgb in images.items()
    ]
    folder = GOLDEN.rsplit("/", 1)[0]
    return {
        GRAPH: onnx_graph(steepness),
        LABELS: to_json([{"id": f"c{number}", "name": name} for number, name in enumerate(COLOURS)]),
        PREPROCESSING: to_json({"size": SIZE, "crop": 1.0, "interpolation": "bicubic"}),
        GOLDEN: to_json({"tolerance": TOLERANCE, "images": recorded}),
        **{f"{folder}/{file}": one_colour_png(rgb) for file, rgb in images.items()},
    }


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
) -> Path:
    """Writes the manifest for the files in the folder, whatever their content."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name_in_bundle = path.relative_to(folder).as_posix()
        if path.is_file() and name_in_bundle != MANIFEST:
            role = "serving" if name_in_bundle.startswith("serving/") else "mlflow"
            data = path.read_bytes()
            files[name_in_bundle] = ManifestFile(role, hashlib.sha256(data).hexdigest(), len(data))
    (folder / MANIFEST).write_bytes(Manifest(name, files, shape, classes).to_bytes())
    return folder


def onnx_graph(
    steepness: float = STEEPNESS, size: int = SIZE, kind: int = TensorProto.UINT8, image: str = "image"
) -> bytes:
    """The model as ONNX: softmax of the mean red, green and blue, scaled to 0 ... `steepness`."""
    weights = steepness / 255 * np.eye(len(COLOURS), dtype=np.float32)
    made = helper.make_graph(
        [
            helper.make_node("Cast", [image], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "sides"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "colours",
        [helper.make_tensor_value_info(image, kind, ["batch", size, size, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(COLOURS)])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "sides"),
        ],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(model.SerializeToString(deterministic=True))


def expected_probabilities(
    rgb: tuple[int, int, int], steepness: float = STEEPNESS
) -> npt.NDArray[np.float64]:
    """The model's probabilities for an image of one colour, computed without ONNX."""
    powers = np.exp(steepness / 255 * np.array(rgb, dtype=np.float64))
    probabilities: npt.NDArray[np.float64] = powers / powers.sum()
    return probabilities


def one_colour_png(rgb: tuple[int, int, int]) -> bytes:
    """A PNG of one colour."""
    return encode_image(Image.new("RGB", (12, 10), rgb), "PNG")
