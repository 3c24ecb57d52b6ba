"""Pixels in, probabilities out. The predictor that measures is the one that serves.

An 8-bit graph computes with integers up to the last layer, so every CPU finds the same bits there. The
softmax after it is float32, and its last digit (3e-7) the CPU's own. `tests/pipeline/onnx/test_eight_bits.py`
compares two CPUs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from serving.artifact.bundle import GRAPH, MANIFEST, Bundle, Label
from serving.errors import ContractBroken, GoldenMismatch
from serving.model.cpu_features import saturates
from serving.model.decoder import Pixels, Preprocessing, decode

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """One class of an answer; `score` is its probability, 0 to 1."""

    label: str
    id: str
    score: float


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to answer. `predict` may be called from several threads at once."""

    bundle: Bundle
    labels: tuple[Label, ...]
    preprocessing: Preprocessing
    session: ort.InferenceSession

    @classmethod
    def open(cls, path: Path, threads: int = 1, graph: str = GRAPH) -> Self:
        """Opens a bundle whose every byte is what was released, or raises a `BundleError`.

        `threads` is what one call of `predict` may use. One is best when several calls run at once,
        and makes the answers independent of the number of cores. `graph` is the file that answers;
        evaluation also asks `FLOAT_GRAPH`.
        """
        bundle = Bundle.open(path)
        # A server is content with the files that answer; `pipeline verify` asks for all of them.
        bundle.verify(whole=False)
        return cls.of(bundle, threads, graph)

    @classmethod
    def of(cls, bundle: Bundle, threads: int = 1, graph: str = GRAPH) -> Self:
        """The same for a bundle that was verified. Every file is checked as it is read."""
        path, data = bundle.path / graph, bundle.read(graph)
        try:
            session = load(data, threads, exact=saturates())
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's errors share no other base class)
            raise ContractBroken(path, f"ONNX Runtime cannot load it: {str(error).rstrip('.')}") from None
        predictor = cls(bundle, bundle.labels(), bundle.preprocessing(), session)
        predictor._check_shapes(path)
        return predictor

    def predict(self, images: Pixels) -> Probabilities:
        """Classifies uint8 [N,S,S,3]; gives float32 [N,K], each row with sum 1."""
        size = self.preprocessing.size
        if images.ndim != 4 or images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
            raise ValueError(f"predict wants uint8 [N,{size},{size},3], not {images.dtype} {images.shape}")
        try:
            (probabilities,) = self.session.run(["probabilities"], {"image": images})
        except RuntimeException as error:
            # ONNX Runtime has no class of its own for it.
            if "llocat" in str(error) or "bad_alloc" in str(error):
                raise MemoryError(str(error)) from None
            raise
        return np.asarray(probabilities, dtype=np.float32)

    def answer(self, data: bytes) -> Probabilities:
        """Decodes and classifies one encoded image: float32 [K]. Raises an `ImageError`."""
        probabilities: Probabilities = self.predict(decode(data, self.preprocessing)[np.newaxis])[0]
        return probabilities

    def top(self, probabilities: Probabilities, k: int = 5) -> list[Score]:
        """The `k` most probable classes of one row, best first; equals in the order of the labels."""
        best = np.argsort(-probabilities, kind="stable")[:k]
        return [Score(self.labels[i].name, self.labels[i].id, float(probabilities[i])) for i in best]

    def check_golden(self) -> float:
        """Answers the golden images and gives the largest difference to what was recorded.

        Raises `GoldenMismatch` if it is more than the bundle tolerates.
        """
        largest = 0.0
        for golden in self.bundle.golden():
            difference = float(np.abs(self.answer(golden.data) - golden.probabilities).max())
            # Not `>`, which does not hold for an answer that is no number.
            if not difference <= golden.tolerance:
                raise GoldenMismatch(self.bundle.path / golden.file, difference, golden.tolerance)
            largest = max(largest, difference)
        return largest

    def _check_shapes(self, graph: Path) -> None:
        size, manifest = self.preprocessing.size, self.bundle.manifest
        inputs = [(i.name, i.type, i.shape[1:]) for i in self.session.get_inputs()]
        outputs = [(o.name, o.type, o.shape[1:]) for o in self.session.get_outputs()]
        if any(isinstance(end.shape[0], int) for end in self.session.get_inputs() if end.shape):
            raise ContractBroken(graph, "it takes batches of one size only")
        wanted = [("image", "tensor(uint8)", [size, size, 3])]
        if inputs != wanted:
            raise ContractBroken(graph, f"its input is {inputs}, not {wanted}")
        if manifest.input_shape != (size, size, 3):
            stated = f"it says that the input is {list(manifest.input_shape)}, and it is {wanted[0][2]}"
            raise ContractBroken(self.bundle.path / MANIFEST, stated)
        wanted_out = [("probabilities", "tensor(float)", [len(self.labels)])]
        if outputs != wanted_out:
            raise ContractBroken(graph, f"its output is {outputs}, not {wanted_out}")


def load(graph: bytes, threads: int, exact: bool) -> ort.InferenceSession:
    """A session for a graph. `exact`: are sums of 8-bit products to be kept whole by slower kernels?

    Where the CPU keeps them whole by itself, the slower ones give the same bits in more than twice the time.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
