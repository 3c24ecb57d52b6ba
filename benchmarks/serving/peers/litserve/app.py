"""LitServe on two cores.

Its documentation recommends several workers for each device where the CPU has several cores, and the default
number of HTTP servers, one for each worker. Photos are files of a form. Also tried: `fast_queue` and one HTTP
server, which take as much CPU time for a request; three workers, and base64 in JSON, which take more.
"""

import os
from typing import Annotated, Any

import litserve
from classifier import Classifier
from fastapi import File


class ImageClassifier(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.classifier = Classifier()

    def decode_request(self, request: Annotated[bytes, File()]) -> bytes:
        return request

    def predict(self, data: bytes) -> list[dict[str, Any]]:
        return self.classifier.top(data)

    def encode_response(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(ImageClassifier(), accelerator="cpu", workers_per_device=2)
    server.run(
        host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, log_level="warning"
    )
