"""BentoML: a service that takes pictures, and one behind it whose method is batched adaptively."""

import os
from pathlib import Path
from typing import Any

import bentoml
from classifier import Classifier

BATCH, WAIT_MS = int(os.environ["MAX_BATCH"]), int(os.environ["MAX_WAIT_MS"])
QUIET = {"access": {"enabled": False}}


@bentoml.service(workers=2, traffic={"timeout": 60}, logging=QUIET)
class Pictures:
    """One picture a request, from the form field `file`; calls are gathered by BentoML."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=WAIT_MS)
    def predict(self, file: list[Path]) -> list[dict[str, Any]]:
        pictures = [self.classifier.decode(path.read_bytes()) for path in file]
        return self.classifier.classify(pictures)
