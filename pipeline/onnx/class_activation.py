"""What class activation maps need of a served graph: the features before the last pooling, and the head.

A network whose features [h,w,F] are averaged over all places and multiplied by the weights of one dense layer
has, as the logit of a class, the mean over all places of `features @ kernel`, plus the bias. The map of these
products is therefore exact. Source: Zhou et al., "Learning Deep Features for Discriminative Localization",
2016.
"""

from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from pipeline.onnx.calibrated_graph import LOGITS, with_logits
from pipeline.onnx.graph_tail import GraphTail, Pooling
from serving.artifact.head import Head
from serving.artifact.manifest import FEATURES
from serving.model.cpu_features import int8_may_saturate
from serving.model.decoder import Pixels
from serving.model.predictor import create_session


class ClassActivation(NamedTuple):
    """`addition`, appended to the graph's bytes, gives it the output `features` float32 [N,h,w,F]."""

    addition: bytes
    head: Head


def find_class_activation(graph: bytes) -> ClassActivation | None:
    """The parts of a graph that ends in global average pooling, a dense layer and a softmax; else `None`.

    The addition is a second message that has only what is new: two protobuf messages in a row are read as
    one, whose lists are joined.
    """
    tail = GraphTail(onnx.load_from_string(graph).graph)
    layer = tail.find_dense_layer()
    pooling = None if layer is None else tail.find_pooling(layer.source)
    if layer is None or pooling is None:
        return None
    return ClassActivation(_addition(tail, pooling), Head(layer.kernel, layer.bias))


class MapCheck(NamedTuple):
    """The number of places of a map, and by how much logits differ from what their maps add up to.

    The difference is a share of the range of the logits. Of an 8-bit graph it is the rounding of the
    averages.
    """

    places: int
    difference: float


def check_maps(graph: bytes, activation: ClassActivation, images: Pixels) -> MapCheck:
    """Compares the maps of images, uint8 [N,H,W,C], with their logits."""
    graphs = graph + activation.addition, with_logits(graph)
    explained, plain = (create_session(data, 1, int8_may_saturate()) for data in graphs)
    head, places, differences = activation.head, 0, []
    for image in images:
        (features,) = explained.run([FEATURES], {"image": image[np.newaxis]})
        (logits,) = plain.run([LOGITS], {"image": image[np.newaxis]})
        places = features.shape[1] * features.shape[2]
        added = features[0].mean(axis=(0, 1), dtype=np.float64) @ head.kernel + head.bias
        differences.append(np.abs(added - logits[0]).max() / np.ptp(logits[0]))
    # NumPy's maximum of NaN is NaN, which no limit allows.
    return MapCheck(places, float(np.max(differences)))


def _addition(tail: GraphTail, pooling: Pooling) -> bytes:
    """The message with the output `features`, and with the nodes from the pooling's input to it."""
    name, nodes = pooling.source, []
    node = tail.producers.get(name)
    if node is not None and node.op_type == "DequantizeLinear":
        # A node of its own: ONNX Runtime joins the other one with the pooling.
        nodes.append(helper.make_node("DequantizeLinear", node.input, ["features_dequantised"]))
        name = "features_dequantised"
    order = [0, 2, 3, 1] if pooling.channels_first else [0, 1, 2, 3]
    nodes.append(helper.make_node("Transpose", [name], [FEATURES], perm=order))
    added = onnx.ModelProto()
    added.graph.node.extend(nodes)
    shape = ["batch", None, None, None]
    added.graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, shape))
    return bytes(added.SerializeToString(deterministic=True))
