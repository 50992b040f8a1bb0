"""LitServe: decode, batch, predict and encode as its documentation divides them."""

import os
import sys

import litserve
from classifier import Answer, Classifier
from fastapi import Request
from torch import Tensor


class Pictures(litserve.LitAPI):
    """One picture a request, from the form field `file`."""

    def setup(self, device: str) -> None:
        self.classifier = Classifier()

    def decode_request(self, request: Request) -> Tensor:
        return self.classifier.decode(request["file"].file.read())

    def batch(self, inputs: list[Tensor]) -> list[Tensor]:
        return inputs

    def predict(self, x: list[Tensor]) -> list[Answer]:
        return self.classifier.classify(x)

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        return output

    def encode_response(self, output: Answer) -> Answer:
        return output


if __name__ == "__main__":
    batch, wait_s = int(os.environ["MAX_BATCH"]), float(os.environ["MAX_WAIT_S"])
    api = Pictures(max_batch_size=batch, batch_timeout=wait_s)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
