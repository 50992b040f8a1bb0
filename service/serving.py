"""The served models: each with its queue, from the bytes of a picture to probabilities."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from service.batching import Batcher
from service.errors import UnknownModel
from service.images import decode_image
from service.model import Model
from service.workers import Workers

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Served:
    """A model, the threads that decode for it and the queue in front of it."""

    model: Model
    workers: Workers
    batcher: Batcher[Tensor, Probabilities]
    max_pixels: int

    @property
    def at_once(self) -> int:
        """How many pictures of one request may be under way together: a full batch, half of the queue."""
        return max(1, min(self.batcher.batch_size, self.batcher.queue_length // 2))

    async def predict(self, data: bytes, timings: dict[str, float]) -> Probabilities:
        """Classify a picture file: bytes -> float64 probabilities, one a class. Notes the stages in ms."""
        image, timings["decode"] = await self.workers.run(self.decode, data)
        answer = await self.batcher.submit(image)
        timings["queue"], timings["infer"] = answer.queue_ms, answer.infer_ms
        return answer.result

    def decode(self, data: bytes) -> tuple[Tensor, float]:
        """Decode and prepare a picture, on a worker's thread: uint8 C×S×S and the milliseconds it took."""
        started = time.perf_counter()
        channels = self.model.card.input.channels
        image = self.model.prepare(decode_image(data, max_pixels=self.max_pixels, channels=channels))
        return image, (time.perf_counter() - started) * 1000


@dataclass(frozen=True)
class ServedModels:
    """All served models by name, and the one that answers when a request names none."""

    by_name: Mapping[str, Served]
    default: str

    def find(self, name: str | None) -> Served:
        """Find a model; None is the default one. Raises UnknownModel."""
        try:
            return self.by_name[name or self.default]
        except KeyError:
            raise UnknownModel(
                f"no model {(name or '')[:100]!r}; served are {', '.join(self.by_name)}"
            ) from None
