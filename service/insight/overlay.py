"""Lay a heat map over the picture it belongs to."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.insight.heat import Heat

LEAST_SIDE, LARGEST_SIDE = 256, 512  # of the picture drawn
STRONGEST = 0.75  # opacity where the class is seen most
# From what hardly counts to what counts most: dark violet, red, orange, pale yellow.
COLOURS = np.array([[48, 18, 92], [160, 30, 110], [226, 72, 58], [250, 160, 50], [252, 240, 170]], np.float64)


def scale(heat: Heat) -> Heat:
    """Bring what speaks for the class into 0..1 by its largest value; what speaks against it is 0."""
    positive = np.maximum(heat, 0)
    most = positive.max()
    scaled: Heat = positive / most if most > 0 else positive
    return scaled


def overlay(picture: NDArray[np.uint8], heat: Heat) -> NDArray[np.uint8]:
    """Colour a picture, uint8 C×H×W, by a heat map of the same field of view: uint8 3×H×W.

    Small pictures are enlarged pixel-sharp to LEAST_SIDE or more, large ones reduced to LARGEST_SIDE; where
    nothing speaks for the class the picture is grey and darkened.
    """
    width, height = drawn_size(picture.shape[2], picture.shape[1])
    colours = np.repeat(picture, 3, axis=0) if len(picture) == 1 else picture
    image = Image.fromarray(np.ascontiguousarray(colours.transpose(1, 2, 0)))
    larger = width > image.width
    image = image.resize((width, height), Image.Resampling.NEAREST if larger else Image.Resampling.BILINEAR)
    levels = Image.fromarray(scale(heat).astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    warm = np.clip(np.asarray(levels, np.float64), 0, 1)
    grey = np.asarray(image.convert("L"), np.float64)[..., None] * 0.7
    alpha = STRONGEST * warm[..., None]
    mixed = grey * (1 - alpha) + palette(warm) * alpha
    return np.rint(mixed).astype(np.uint8).transpose(2, 0, 1)


def drawn_size(width: int, height: int) -> tuple[int, int]:
    """Give a size in bounds: whole multiples of a small picture's, or a fraction of a large one's."""
    longest = max(width, height)
    if longest > LARGEST_SIDE:
        return round(width * LARGEST_SIDE / longest) or 1, round(height * LARGEST_SIDE / longest) or 1
    times = -(-LEAST_SIDE // longest)
    return width * times, height * times


def palette(levels: Heat) -> Heat:
    """Colour levels of 0..1, H×W -> H×W×3, 0..255."""
    steps = np.linspace(0, 1, len(COLOURS))
    return np.stack([np.interp(levels, steps, COLOURS[:, channel]) for channel in range(3)], axis=-1)
