"""BentoML on two cores.

Its documentation recommends a worker for each core where the GIL limits throughput, a synchronous method for
CPU-bound work, and `threads` for the number of calls that run in one worker. The photo is the request body.
Also tried: one worker with two threads, and one thread in each worker, which take as much CPU time for a
request; photos through a file, which takes more.
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
