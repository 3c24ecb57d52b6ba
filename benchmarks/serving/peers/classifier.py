"""The classifier that every peer serves: encoded photo → Pillow → ONNX graph → top five classes.

Preprocessing follows this project's decoder, JPEG draft mode included, so that the contenders differ only in
the server. None of them batches requests, which their documentation recommends for GPUs: on a core of a Zen 5
a photo takes 4.5 ms alone and 5.2 ms in a batch of eight.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image


class Classifier:
    """Opens the files that environment variables name. `top` is thread-safe."""

    def __init__(self) -> None:
        self.labels = json.loads(Path(os.environ["CLASSIFIER_LABELS"]).read_text(encoding="utf-8"))
        self.preprocessing = json.loads(
            Path(os.environ["CLASSIFIER_PREPROCESSING"]).read_text(encoding="utf-8")
        )
        options = ort.SessionOptions()
        # Two workers or threads predict at once; it would be slower if each used both cores.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = os.environ["CLASSIFIER_GRAPH"]
        self.session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def top(self, data: bytes) -> list[dict[str, Any]]:
        """The five best classes of an encoded image, best first."""
        (probabilities,) = self.session.run(["probabilities"], {"image": self.pixels(data)[np.newaxis]})
        best = np.argsort(-probabilities[0], kind="stable")[:5]
        return [self.labels[index] | {"score": float(probabilities[0][index])} for index in best]

    def pixels(self, data: bytes) -> npt.NDArray[np.uint8]:
        """The central square, resized: uint8 [S,S,3]."""
        size, crop = self.preprocessing["size"], self.preprocessing["crop"]
        image = Image.open(io.BytesIO(data))
        scale = round(size / crop) / min(image.size)
        image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
        side = crop * min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        square = (left, top, left + side, top + side)
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box=square))
