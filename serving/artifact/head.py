"""`serving/head.npy` of a bundle: the weights of the last layer, from which predictions can be explained.

The file is one NumPy array, float32 [F+1,K]: the kernel [F,K] with the bias [K] as its last row. For features
[h,w,F] that are averaged before that layer, `features[y, x] @ kernel` is the share of a place in the logits.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """The last layer: `logits = features @ kernel + bias`, with kernel [F,K] and bias [K]."""

    kernel: Floats
    bias: Floats

    def to_bytes(self) -> bytes:
        """The canonical bytes of the file."""
        weights = np.vstack([self.kernel, self.bias]).astype("<f4")
        return _header(weights.shape) + weights.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, features: int, classes: int) -> "Head":
        """Parses a file of known shape. Raises `ValueError` for any other bytes.

        The header is compared and not parsed, so a hostile one can neither name another type, as Python
        objects, nor allocate memory.
        """
        shape = (features + 1, classes)
        header = _header(shape)
        if not data.startswith(header) or len(data) != len(header) + 4 * shape[0] * shape[1]:
            raise ValueError(f"it is not a NumPy array of float32 with the shape {[*shape]}")
        weights = np.frombuffer(data, dtype="<f4", offset=len(header)).reshape(shape)
        if not np.isfinite(weights).all():
            raise ValueError("a weight is not finite")
        return cls(weights[:-1], weights[-1])


def _header(shape: tuple[int, ...]) -> bytes:
    """The header that NumPy writes, version 1.0."""
    buffer = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()
