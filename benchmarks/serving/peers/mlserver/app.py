"""MLServer on two cores: a custom runtime, which runs in the two processes that `settings.json` asks for.

Its documentation recommends such a pool beside the server, and base64 for bytes: it reads only JSON.
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
        answer = json.dumps(self.classifier.top(data))
        output = ResponseOutput(name="classes", shape=[1], datatype="BYTES", data=[answer])
        return InferenceResponse(model_name=self.name, outputs=[output])
