"""TorchServe: a handler that takes the whole batch, as its documentation's custom handlers do."""

from typing import Any

from classifier import Answer, Classifier


class Handler:
    """Pictures from the form field `data`, a batch at once."""

    def __init__(self) -> None:
        self.initialized = False

    def initialize(self, context: Any) -> None:
        self.classifier = Classifier()
        self.initialized = True

    def handle(self, rows: list[dict[str, Any]], context: Any) -> list[Answer]:
        files = [row.get("data") or row.get("body") for row in rows]
        return self.classifier.classify([self.classifier.decode(bytes(data)) for data in files])
