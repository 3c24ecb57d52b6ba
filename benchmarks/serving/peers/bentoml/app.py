"""BentoML on two cores.

Its documentation recommends a worker for each core where Python's lock is in the way, a synchronous method
for work of the processor, and `threads` for how many of them run in one worker. The photo is the body
itself. Tried too: one worker with two threads and one thread in each worker, which take as much of the
processor for an answer; photos by way of a file, which takes more.
"""

from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType
from classifier import Classifier


@bentoml.service(workers=2, threads=2, traffic={"timeout": 60})
class ImageClassifier:
    def __init__(self) -> None:
        self.classifier = Classifier()

    @bentoml.api
    def classify(self, image: Annotated[bytes, ContentType("image/jpeg")], /) -> list[dict[str, Any]]:
        return self.classifier.top(image)
