"""PyTriton on two cores: NVIDIA's Triton, whose model is a Python function.

Its documentation recommends a list of functions for several instances; they are threads of this process.
Photos are Triton's raw binary requests, because JSON holds no bytes. Also tried: one instance and three, and
base64 instead of shared memory between Triton and Python. On a busy machine all took about as much CPU time
for a request.
"""

import json
import os
import signal

import numpy as np
from classifier import Classifier
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


class ImageClassifier:
    def __init__(self) -> None:
        self.classifier = Classifier()

    def __call__(self, requests: list) -> list[dict[str, np.ndarray]]:
        return [{"classes": self.classes(request["image"].item())} for request in requests]

    def classes(self, data: bytes) -> np.ndarray:
        return np.array([json.dumps(self.classifier.top(data)).encode()], dtype=object)


if __name__ == "__main__":
    # Only after SIGINT does PyTriton stop Triton, which then removes its shared memory and temporary files.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(os.environ["PORT"]), allow_grpc=False, allow_metrics=False
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="imagenet",
            infer_func=[ImageClassifier(), ImageClassifier()],
            inputs=[Tensor(name="image", dtype=object, shape=(1,))],
            outputs=[Tensor(name="classes", dtype=object, shape=(1,))],
            config=ModelConfig(batching=False),
        )
        triton.serve()
