"""mosec on two cores: HTTP in Rust, and the model in worker processes.

Its documentation recommends to choose the number of workers, and for images a `deserialize` that does not
read JSON: here the photo is the body. Batches and stages it recommends for GPUs. Also tried: one worker,
which took as much CPU time for a request; three, which took more.
"""

from typing import Any

from classifier import Classifier
from mosec import Server, Worker


class ImageClassifier(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = Classifier()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> list[dict[str, Any]]:
        return self.classifier.top(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(ImageClassifier, num=2)
    server.run()
