"""Decode a large JPEG at a fraction of its size, and cut the square that a model sees out of what comes."""

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

# How many times finer than the model's input a JPEG stays that is scaled while it is decoded. Of 2,000 photos
# two models' top classes stay the same on 99.5 % with 7, 99.2 and 99.5 % with 5; with 14 on no more.
DETAIL = 7


def decode_smaller(image: ImageFile, square: int) -> None:
    """Let a JPEG be decoded at 1/2, 1/4 or 1/8, where DETAIL × `square` pixels a side or more are left."""
    least = DETAIL * square
    if isinstance(image, JpegImageFile) and min(image.size) >= 2 * least:
        image.draft(None, (least, least))


def cut_square(picture: Image.Image, stored: tuple[int, int], side: int) -> Image.Image:
    """Cut the central square out of a picture decoded from `stored` pixels and resize it, antialiased.

    The square is placed by the stored picture's measures: decoded at a quarter or an eighth, its edges
    fall between pixels, and rounding them moves what the model sees enough to change one answer in 30.
    """
    scale = max(1, round(max(stored) / max(picture.size)))
    width, height = stored
    whole = min(width, height)
    left, top = (width - whole) // 2, (height - whole) // 2
    # Cut first: Pillow's filter would reach beyond the box for what is not part of the square.
    column, row = left // scale, top // scale
    edges = (column, row, -(-(left + whole) // scale), -(-(top + whole) // scale))
    x, y, across = left / scale - column, top / scale - row, whole / scale
    return picture.crop(edges).resize((side, side), Image.Resampling.BILINEAR, (x, y, x + across, y + across))
