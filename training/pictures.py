"""Decode a picture file to the pixels that the service makes of the same file (a test compares the two)."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

# Large ones are read as they are, those that Pillow takes for an attack are skipped and listed.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

UPRIGHT: dict[object, Image.Transpose] = {  # EXIF orientation -> what undoes it; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(path: Path) -> Tensor:
    """Read a file as uint8 3×H×W, RGB, 0..255: its first frame, upright by its EXIF, on white where clear.

    Raises whatever a decoder throws at a file that is no picture.
    """
    with Image.open(path) as stored:
        stored.load()
        picture = to_eight_bits(stored).convert("RGB")
        try:
            turn = UPRIGHT.get(stored.getexif().get(ExifTags.Base.Orientation))
        except Exception:  # a corrupt EXIF says nothing
            turn = None
        if turn is not None:
            picture = picture.transpose(turn)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def to_eight_bits(picture: Image.Image) -> Image.Image:
    """Bring a picture of any mode to 8 bits a channel, opaque: what Pillow would clip or uncover."""
    if picture.mode.startswith("I"):  # greys of 16 bits
        values = np.asarray(picture)
        levels = (values.clip(0, 65535).astype(np.uint32) + 128) // 257
        if "transparency" in picture.info:  # one grey level that is clear
            levels[values == picture.info["transparency"]] = 255
        return Image.fromarray(levels.astype(np.uint8))
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA"))
    return picture
