"""MLServer on two cores: a custom runtime in the two worker processes that `settings.json` sets.

Its documentation recommends such a pool, and base64 for bytes, because it reads only JSON.
"""

import json

from classifier import Classifier
from mlserver import MLModel
from mlserver.codecs import Base64Codec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class ImageClassifier(MLModel):
    async def load(self) -> bool:
        self.classifier = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (data,) = Base64Codec.decode_input(payload.inputs[0])
        classes = json.dumps(self.classifier.top(data))
        output = ResponseOutput(name="classes", shape=[1], datatype="BYTES", data=[classes])
        return InferenceResponse(model_name=self.name, outputs=[output])
