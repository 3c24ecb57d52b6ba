"""A float32 graph in 8 bits, by ONNX Runtime's static quantiser: per channel, as QuantizeLinear pairs.

What was found out (MobileNetV2 on ImageNet, one thread of a Zen 5):
- Activations as uint8 and weights as int8 take half the time of float32; weights as uint8 take as long as
  float32 and lose more, and 7-bit weights (`reduce_range`) lose nine points of top-1.
- The scaling of pixels and the softmax stay float32. A softmax in 8 bits gives probabilities in steps of
  1/255, whose sum was up to 0.46 away from 1.
- The range of a layer that holds 99.999 % of its values keeps the answers nearer to those of float32 than the
  whole range does, and than 99.99 % (mean divergence 0.0035, 0.0042, 0.0049).
"""

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import PercentileCalibrater, TensorData, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from pipeline.onnx.keras_to_onnx import INPUT, canonical
from serving.model.decoder import Pixels

PERCENTILE = 99.999
LAYERS = ["Conv", "Gemm", "MatMul", "Add", "Clip", "Relu", "Pad"]
# Their output is the input of the softmax.
LAST = ["Gemm", "MatMul"]
# Images whose values of all layers are in memory at once: 60 MB each with 224 pixels.
CHUNK = 4
# Bits of a range's mantissa. The last digits of float32 sums are the CPU's own, the bytes must not be.
MANTISSA = 8


def quantised(graph: bytes, images: Pixels) -> bytes:
    """Makes the 8-bit ONNX of a float32 one; `images`, uint8 [N,S,S,3], show the ranges of its values."""
    with TemporaryDirectory(prefix="goldfish-") as name:
        folder = Path(name)
        prepared, ranges, made = folder / "float.onnx", folder / "ranges.json", folder / "int8.onnx"
        (folder / "model.onnx").write_bytes(graph)
        # Folds what follows a convolution into it. The rest of it is for transformers.
        quant_pre_process(folder / "model.onnx", prepared, skip_symbolic_shape=True)
        save_tensors_data(_ranges(prepared, images, folder / "observed.onnx"), ranges)
        quantize_static(
            prepared,
            made,
            None,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=LAYERS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_before_the_first_layer(prepared),
            calibrate_method=CalibrationMethod.Percentile,
            calibration_cache_path=ranges,
            extra_options={"OpTypesToExcludeOutputQuantization": LAST},
        )
        return bytes(canonical(onnx.load(made)).SerializeToString(deterministic=True))


class _Images:
    """What the quantiser reads images from: one at a time, then None."""

    def __init__(self, images: Pixels) -> None:
        self.images: Iterator[Any] = iter(images)

    def get_next(self) -> dict[str, Pixels] | None:
        image = next(self.images, None)
        return None if image is None else {INPUT: image[np.newaxis]}


def _ranges(graph: Path, images: Pixels, observed: Path) -> Any:  # noqa: ANN401
    """The range of every layer's values over all images, rounded."""
    calibrater = PercentileCalibrater(graph, LAYERS, str(observed), percentile=PERCENTILE)
    calibrater.augment_graph()
    calibrater.infer_session = _session(observed)
    # It prints what it does.
    with redirect_stdout(io.StringIO()):
        for begin in range(0, len(images), CHUNK):
            calibrater.collect_data(_Images(images[begin : begin + CHUNK]))
        found = calibrater.compute_data()
    for name in found.keys():  # noqa: SIM118  (it is no dictionary)
        lowest, highest = found[name].range_value
        found[name] = TensorData(lowest=rounded(lowest), highest=rounded(highest))
    return found


def _session(graph: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Fixed, so that the number of cores decides nothing.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def rounded(value: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The nearest number with a mantissa of `MANTISSA` bits; it is at most 0.4 % away."""
    mantissa, exponent = np.frexp(value)
    nearest = np.ldexp(np.round(np.ldexp(mantissa, MANTISSA)), exponent - MANTISSA)
    return np.asarray(nearest, dtype=np.float32)


def _before_the_first_layer(graph: Path) -> list[str]:
    """The nodes that scale pixels: in 8 bits they would only be slower and less exact."""
    nodes = list(onnx.load(graph).graph.node)
    first = next((index for index, node in enumerate(nodes) if node.op_type in ("Conv", *LAST)), 0)
    return [node.name for node in nodes[:first]]
