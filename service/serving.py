"""The served models: each with its queue, from the bytes of a picture to its classes.

A small picture is decoded by the model's own thread, just before the batch it is in: that costs less
than handing it to another thread. A larger one is decoded by a worker first, a very large one by a
worker that stands back.
"""

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.batching import Batcher
from service.errors import TooLarge, UnknownModel
from service.images import cut_square, decode_image, to_array
from service.model import Model
from service.workers import Workers

# A small picture takes about 30 µs to decode. Compressed texts and profiles beside the pixels take 30 ms from
# as few bytes, and formats other than these are decoded in Python or rare: they go to a worker.
SMALL = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n")
COMPRESSED = re.compile(rb"zTXt|iTXt|iCCP")
SMALL_BYTES = 16 * 2**10
SMALL_PIXELS = 128 * 128
LARGE_BYTES = 2**20
LARGEST_SQUARE = 512  # pixels; no photo is large enough to be scaled for a larger input

Pixels = NDArray[np.uint8]  # C×S×S, 0..255: what the model takes
Picture = bytes | Pixels  # a file, or decoded and prepared already


class Ranking(NamedTuple):
    """All classes of a model for one picture, the likeliest first; equal ones in the labels' order."""

    indices: list[int]
    probabilities: list[float]
    decode_ms: float  # of this picture in its batch, 0 where it came decoded
    batch_decode_ms: float  # of the whole batch


class Served:
    """A model, the threads that decode for it and the queue in front of it."""

    def __init__(
        self,
        model: Model,
        workers: Workers,
        *,
        max_pixels: int,
        batch_size: int,
        queue_length: int,
        queue_timeout_s: float = math.inf,
    ) -> None:
        self.model = model
        self.workers = workers
        self.max_pixels = max_pixels
        self.square = model.card.input.height if cuts_square(model) else None
        self.batcher: Batcher[Picture, Ranking] = Batcher(
            self.classify, batch_size=batch_size, queue_length=queue_length, max_wait_s=queue_timeout_s
        )

    @property
    def at_once(self) -> int:
        """How many pictures of one request may be under way together: a full batch, half of the queue."""
        return max(1, min(self.batcher.batch_size, self.batcher.queue_length // 2))

    async def predict(self, data: bytes, timings: dict[str, float]) -> Ranking:
        """Classify a picture file. Notes the stages in milliseconds."""
        if len(data) <= SMALL_BYTES and SMALL.match(data) and not COMPRESSED.search(data):
            try:
                return await self.submit(data, timings)
            except NotSmall:
                pass  # few bytes, many pixels
        run = self.workers.run_large if len(data) > LARGE_BYTES else self.workers.run
        pixels, timings["decode"] = await run(self.decode, data, self.max_pixels)
        return await self.submit(pixels, timings)

    async def submit(self, picture: Picture, timings: dict[str, float]) -> Ranking:
        answer = await self.batcher.submit(picture)
        ranking = answer.result
        timings["decode"] = timings.get("decode", 0.0) + ranking.decode_ms
        timings["queue"] = answer.queue_ms
        timings["infer"] = answer.infer_ms - ranking.batch_decode_ms
        return ranking

    def decode(self, data: bytes, max_pixels: int) -> tuple[Pixels, float]:
        """Decode and prepare a picture: uint8 C×S×S, and the milliseconds it took. Blocking."""
        started = time.perf_counter()
        size = self.model.card.input
        image = decode_image(data, max_pixels=max_pixels, channels=size.channels, square=self.square)
        return self.model.prepare(image), (time.perf_counter() - started) * 1000

    def classify(self, pictures: Sequence[Picture]) -> list[Ranking | Exception]:
        """Answer a batch, each picture with its classes or with its own error. Runs on the model's thread."""
        started = time.perf_counter()
        decoded = [self.decode_small(one) if isinstance(one, bytes) else (one, 0.0) for one in pictures]
        batch_ms = (time.perf_counter() - started) * 1000
        good = [one for one in decoded if isinstance(one, tuple)]
        ranked = iter(self.rank(good, batch_ms))
        return [next(ranked) if isinstance(one, tuple) else one for one in decoded]

    def rank(self, pictures: Sequence[tuple[Pixels, float]], batch_ms: float) -> list[Ranking | Exception]:
        """Run the model; where it fails, on one half after the other: whoever can be answered is."""
        if not pictures:
            return []
        try:
            probabilities = self.model.classify([pixels for pixels, _ in pictures])
        except Exception as error:  # the graph is somebody's code: it may raise anything
            if len(pictures) == 1:
                return [error]
            middle = len(pictures) // 2
            return self.rank(pictures[:middle], batch_ms) + self.rank(pictures[middle:], batch_ms)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        falling = np.take_along_axis(probabilities, order, axis=1)
        rows = zip(order.tolist(), falling.tolist(), pictures, strict=True)
        return [
            # The last is the least: one that is no number makes all of its picture's none.
            Ranking(indices, values, spent, batch_ms)
            if values[-1] >= 0
            else ArithmeticError(f"{self.model.name} gave numbers that are none")
            for indices, values, (_, spent) in rows
        ]

    def decode_small(self, data: bytes) -> tuple[Pixels, float] | Exception:
        """Decode within a batch, where an error is that picture's answer and nobody else's."""
        try:
            return self.decode(data, min(SMALL_PIXELS, self.max_pixels))
        except TooLarge as error:
            return error if self.max_pixels <= SMALL_PIXELS else NotSmall()
        except Exception as error:  # a ServiceError mostly
            return error


def cuts_square(model: Model) -> bool:
    """Whether the model's `prepare` is the central square, resized: then a decoder may do so as well."""
    channels, height, width = model.shape
    if height != width or height > LARGEST_SQUARE:
        return False
    for size in ((3 * height + 1, 4 * height), (5 * height + 2, 3 * height + 1)):
        picture = np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)
        cut = to_array(cut_square(Image.fromarray(picture.squeeze()), size[::-1], height))
        prepared = model.prepare(picture.transpose(2, 0, 1))
        if np.abs(prepared.astype(int) - cut).max() > 1:  # a level, for rounding
            return False
    return True


class NotSmall(Exception):
    """A picture of few bytes that takes long to decode: not within a batch."""


@dataclass(frozen=True)
class ServedModels:
    """All served models by name, and the one that answers when a request names none."""

    by_name: Mapping[str, Served]
    default: str
    refused: Mapping[str, str] = field(default_factory=dict)  # file -> why it could not be loaded

    def find(self, name: str | None) -> Served:
        """Find a model; None is the default one. Raises UnknownModel."""
        try:
            return self.by_name[name or self.default]
        except KeyError:
            raise UnknownModel(
                f"no model {(name or '')[:100]!r}; served are {', '.join(self.by_name)}"
            ) from None
