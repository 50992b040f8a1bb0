"""MLServer: a custom runtime; pictures travel as base64 in the Open Inference Protocol's JSON."""

import json

from classifier import Classifier
from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Runtime(MLModel):
    """Pictures in the input `file`; each answer is a string of JSON."""

    async def load(self) -> bool:
        self.classifier = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        files = Base64Codec.decode_input(payload.inputs[0])
        answers = self.classifier.classify([self.classifier.decode(data) for data in files])
        output = StringCodec.encode_output("predictions", [json.dumps(answer) for answer in answers])
        return InferenceResponse(model_name=self.name, outputs=[output])
