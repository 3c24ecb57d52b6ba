"""Class activation maps: exact explanations of networks that end in a global average and one dense layer.

The logit of a class is the mean of its map plus the bias, so the map shows what the prediction was computed
from. Source: Zhou et al., "Learning Deep Features for Discriminative Localization", 2016.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from serving.artifact.bundle import Bundle
from serving.artifact.head import Head
from serving.artifact.manifest import EXPLANATION, FEATURES, GRAPH
from serving.errors import ContractBroken
from serving.model.cpu_features import int8_may_saturate
from serving.model.decoder import Pixels
from serving.model.predictor import Session, create_session, raise_memory_error, run

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClassActivationMap:
    """The served graph with the features [h,w,F] as an output, and the weights of its last layer."""

    session: Session
    head: Head

    @classmethod
    def open(cls, bundle: Bundle) -> Self:
        """A second session for the served graph of a bundle that has an explanation.

        ONNX Runtime computes all outputs of a graph, whichever are asked for. A graph of its own keeps the
        cost of the features away from plain predictions. Raises `ContractBroken`.
        """
        graph, path = bundle.read(GRAPH) + bundle.read(EXPLANATION), bundle.path / EXPLANATION
        try:
            session = create_session(graph, 1, int8_may_saturate())
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's errors share no other base class)
            raise_memory_error(error)
            raise ContractBroken(path, f"ONNX Runtime cannot load it: {str(error).rstrip('.')}") from None
        output = session.get_outputs()[-1]
        shape = output.shape[1:]
        if output.name != FEATURES or len(shape) != 3 or not all(isinstance(side, int) for side in shape):
            raise ContractBroken(
                path, f"its output is {output.name} {output.shape}, not {FEATURES} [N,h,w,F]"
            )
        return cls(session, bundle.head(shape[-1]))

    def explain(self, pixels: Pixels, number: int) -> Map:
        """The share of each place in a class's logit, float32 [h,w], for an image uint8 [H,W,C]."""
        (features,) = run(self.session, [FEATURES], pixels[np.newaxis])
        return np.asarray(features[0] @ self.head.kernel[:, number], np.float32)

    def bias(self, number: int) -> float:
        """What is added to the mean of a class's map to give its logit."""
        return float(self.head.bias[number])
