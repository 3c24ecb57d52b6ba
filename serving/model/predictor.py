"""Predicts probabilities from pixels with ONNX Runtime. Evaluation and serving use this same predictor.

An 8-bit graph computes with integers up to the last layer, and the softmax after it in float64, so all CPUs
give the same bits. `tests/pipeline/onnx/test_eight_bits.py` compares two CPUs. The sums of a float32 graph
differ in their last digits.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from serving.artifact.bundle import Bundle, Label
from serving.artifact.manifest import ENERGY, GRAPH, MANIFEST, PROBABILITIES
from serving.errors import ContractBroken, GoldenMismatch
from serving.model.cpu_features import int8_may_saturate
from serving.model.decoder import Pixels, Preprocessing, decode

Probabilities = npt.NDArray[np.float32]
Session: TypeAlias = ort.InferenceSession


class Outputs(NamedTuple):
    """Probabilities [N,K] and, if the graph has them, energies [N] of N images."""

    probabilities: Probabilities
    energies: Probabilities | None


class Prediction(NamedTuple):
    """Probabilities [K] and, if the graph has it, the energy of one image."""

    probabilities: Probabilities
    energy: float | None


@dataclass(frozen=True)
class Score:
    """One class of a prediction; `score` is its probability, 0 to 1."""

    label: str
    id: str
    score: float


@dataclass(frozen=True)
class Predictor:
    """A loaded model. `predict` may be called from several threads at once."""

    bundle: Bundle
    labels: tuple[Label, ...]
    preprocessing: Preprocessing
    session: Session

    @classmethod
    def open(cls, path: Path, threads: int = 1, graph: str = GRAPH) -> Self:
        """Opens and verifies a bundle. Raises a `BundleError`.

        `threads` is the number of threads of one `predict` call. One is best when several calls run at once,
        and makes the results independent of the number of cores. `graph` is the ONNX file to load;
        evaluation also loads `FLOAT_GRAPH`.
        """
        bundle = Bundle.open(path)
        # The serving files are enough here; `pipeline verify` requires all files.
        bundle.verify(whole=False)
        return cls.from_bundle(bundle, threads, graph)

    @classmethod
    def from_bundle(cls, bundle: Bundle, threads: int = 1, graph: str = GRAPH) -> Self:
        """The same for a verified bundle. The SHA-256 of every file is checked again when it is read."""
        path, data = bundle.path / graph, bundle.read(graph)
        try:
            session = create_session(data, threads, avoid_saturation=int8_may_saturate())
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's errors share no other base class)
            raise ContractBroken(path, f"ONNX Runtime cannot load it: {str(error).rstrip('.')}") from None
        predictor = cls(bundle, bundle.labels(), bundle.preprocessing(), session)
        predictor._check_shapes(path)
        return predictor

    def predict(self, images: Pixels) -> Probabilities:
        """Classifies uint8 [N,H,W,C]. Returns float32 [N,K]; each row sums to 1."""
        return self.predict_outputs(images).probabilities

    def predict_outputs(self, images: Pixels) -> Outputs:
        """The same, with the energies."""
        shape = self.preprocessing.shape
        if images.ndim != 4 or images.shape[1:] != shape or images.dtype != np.uint8:
            expected = ",".join(map(str, shape))
            raise ValueError(f"predict expects uint8 [N,{expected}], not {images.dtype} {images.shape}")
        names = [PROBABILITIES, *([ENERGY] if self.bundle.manifest.energy else [])]
        probabilities, *energies = run(self.session, names, images)
        return Outputs(
            np.asarray(probabilities, dtype=np.float32),
            np.asarray(energies[0], dtype=np.float32) if energies else None,
        )

    def predict_one(self, pixels: Pixels) -> Prediction:
        """The prediction for one image, uint8 [H,W,C]."""
        probabilities, energies = self.predict_outputs(pixels[np.newaxis])
        return Prediction(probabilities[0], None if energies is None else float(energies[0]))

    def classify(self, data: bytes) -> Probabilities:
        """Decodes and classifies one encoded image: float32 [K]. Raises an `ImageError`."""
        return self.predict_one(decode(data, self.preprocessing)).probabilities

    def top(self, probabilities: Probabilities, k: int = 5) -> list[Score]:
        """The `k` most probable classes of one row, best first; ties in the order of the labels."""
        best = np.argsort(-probabilities, kind="stable")[:k]
        return [Score(self.labels[i].name, self.labels[i].id, float(probabilities[i])) for i in best]

    def check_golden(self) -> float:
        """Classifies the golden images. Returns the largest difference to a recorded probability.

        Raises `GoldenMismatch` if a difference exceeds the bundle's tolerance.
        """
        largest = 0.0
        for golden in self.bundle.golden_images():
            difference = float(np.abs(self.classify(golden.data) - golden.probabilities).max())
            # `not <=` rather than `>`, because NaN must fail.
            if not difference <= golden.tolerance:
                raise GoldenMismatch(self.bundle.path / golden.file, difference, golden.tolerance)
            largest = max(largest, difference)
        return largest

    def _check_shapes(self, graph: Path) -> None:
        shape, manifest = self.preprocessing.shape, self.bundle.manifest
        inputs = [(i.name, i.type, i.shape[1:]) for i in self.session.get_inputs()]
        outputs = [(o.name, o.type, o.shape[1:]) for o in self.session.get_outputs()]
        if any(isinstance(tensor.shape[0], int) for tensor in self.session.get_inputs() if tensor.shape):
            raise ContractBroken(graph, "it takes batches of one size only")
        expected_inputs = [("image", "tensor(uint8)", [*shape])]
        if inputs != expected_inputs:
            raise ContractBroken(graph, f"its input is {inputs}, not {expected_inputs}")
        if manifest.input_shape != shape:
            reason = f"it says that the input is {[*manifest.input_shape]}, and it is {[*shape]}"
            raise ContractBroken(self.bundle.path / MANIFEST, reason)
        shapes = manifest.output_shapes | {PROBABILITIES: (len(self.labels),)}
        expected_outputs = [(name, "tensor(float)", [*shape]) for name, shape in shapes.items()]
        if outputs != expected_outputs:
            raise ContractBroken(graph, f"its output is {outputs}, not {expected_outputs}")


def run(session: Session, outputs: list[str], images: Pixels) -> list[npt.NDArray[np.float32]]:
    """Outputs of a graph for images, uint8 [N,H,W,C]. Raises `MemoryError`."""
    try:
        found: list[npt.NDArray[np.float32]] = session.run(outputs, {"image": images})
    except RuntimeException as error:
        raise_memory_error(error)
        raise
    return found


def raise_memory_error(error: Exception) -> None:
    """Raises `MemoryError` if ONNX Runtime could not allocate memory: it has no exception class for that."""
    if "llocat" in str(error) or "bad_alloc" in str(error):
        raise MemoryError(str(error)) from None


def create_session(graph: bytes, threads: int, avoid_saturation: bool) -> ort.InferenceSession:
    """A session for a graph. `avoid_saturation` selects slower 8-bit kernels, see `cpu_features`.

    On CPUs that do not saturate, these give the same bits in more than twice the time.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if avoid_saturation:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
