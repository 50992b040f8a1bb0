"""Turn the bytes of a picture into a uint8 array, within limits. Blocking: callers use a thread."""

import logging
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from service.errors import ServiceError, TooLarge, UndecodablePicture, UnsupportedType
from service.formats import SERVED, check_cost, identify, in_words, open_file
from service.scaling import cut_square, decode_smaller

__all__ = ["check_picture_type", "cut_square", "decode_image", "to_array"]

logger = logging.getLogger(__name__)

PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff")
OTHER_TYPES = {
    *("image/jpg", "image/pjpeg", "image/x-png", "image/x-bmp", "image/x-ms-bmp", "image/tif"),
    *("image/*", "application/octet-stream"),
}

UPRIGHT: dict[object, Image.Transpose] = {  # EXIF orientation -> what undoes it; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where Pillow looks for an orientation, but for a TIFF's own tags.
ORIENTED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}

# Bytes of pixels above which they are copied strip by strip. Whole, they go through fresh memory three times:
# with 12 megapixels decoding took 85 ms against 45, and 108 MB more against 36, while other threads wait.
LARGE = 2**23
STRIP = 2**17

MODES = {1: "L", 3: "RGB"}


def decode_image(
    data: bytes, *, max_pixels: int, channels: int = 3, square: int | None = None
) -> NDArray[np.uint8]:
    """The picture as uint8 C×H×W, 0..255, writable: RGB (`channels` 3) or luma (1).

    The first frame or page, upright by its EXIF orientation, on white where it is transparent; colour
    profiles are ignored, as training does. In memory pixels lie as decoded, channels last. With
    `square`, a JPEG at least 2 × DETAIL times as high and wide is scaled while it is decoded, and what
    comes back is its central square of `square` pixels a side. Raises UndecodablePicture, or TooLarge
    when width × height as stored is above `max_pixels`, which is known before a pixel is decoded.
    """
    mode = MODES[channels]
    name, read = identify(data)
    complaint = "is damaged or cut short, or of a variant not served"
    try:
        image = open_file(name, read, data)
        check_cost(image, data, max_pixels)
        complaint = "is damaged or cut short"
        stored = image.size
        if square is not None:
            decode_smaller(image, square)
        # The file in one piece: after each of 64 KiB Pillow queues for the interpreter's lock again, and a
        # photo of 4 MB then takes twice as long beside a busy thread.
        image.decodermaxblock = len(data)
        image.load()
        picture = to_eight_bits(image)
        if square is not None and image.size != stored:  # decoded at a fraction
            picture = cut_square(picture, stored, square)
        picture = turn_upright(picture, image)
        # Pillow's `convert` copies even where nothing changes.
        return to_array(picture if picture.mode == mode else picture.convert(mode))
    except Exception as error:
        refuse(error, f"the {name} picture {complaint}", max_pixels)


def check_picture_type(content_type: str | None) -> None:
    """Refuse a declared media type that is no picture we read: UnsupportedType.

    No type and application/octet-stream say nothing, so the bytes decide; so they do in the end for
    every type, as clients often label a PNG image/jpeg.
    """
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type and media_type not in OTHER_TYPES and media_type not in PICTURE_TYPES:
        raise UnsupportedType(
            f"media type {media_type[:100]} is not served; send a {SERVED} picture as one of"
            f" {', '.join(PICTURE_TYPES)} or application/octet-stream"
        )


def refuse(error: Exception, sentence: str, max_pixels: int) -> NoReturn:
    """Decoders throw anything at hostile bytes: it becomes `sentence`, and the reason stays in the log."""
    try:
        if isinstance(error, ServiceError):
            raise error
        if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            # Some readers hold frames and tiles to Pillow's own limit, and do not say their size.
            limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
            raise TooLarge(f"image is over the limit of {in_words(limit)}") from None
        logger.debug("%s", sentence, exc_info=error)
        raise UndecodablePicture(sentence) from None
    finally:
        del error  # or error and frame hold each other, and the file, until the garbage is collected


def to_eight_bits(image: Image.Image) -> Image.Image:
    """A picture of any mode as an opaque one of 8 bits a channel, in a mode that converts to RGB."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = integer_levels(np.asarray(image))
        if "transparency" in image.info:  # one grey level that is clear
            levels[np.asarray(image) == image.info["transparency"]] = 255
        return Image.fromarray(levels)
    if image.mode == "F":
        return Image.fromarray(float_levels(np.asarray(image)))
    if image.has_transparency_data:
        return on_white(image)
    return image.convert("RGB") if image.mode == "LAB" else image  # LAB converts to nothing else


def integer_levels(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """16-bit greys / 257, rounded; wider ones, which have no agreed white, from their own min..max."""
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= 65535:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return rounded((values.astype(np.float64) - low) * (255 / (high - low or 1)))


def float_levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Greys of 0..1 times 255; others are taken as 0..255 and clipped. NaN is black."""
    numbers = np.nan_to_num(values, nan=0.0)
    is_unit = numbers.min() >= 0 and numbers.max() <= 1
    return rounded(numbers * 255 if is_unit else np.clip(numbers, 0, 255))


def rounded(levels: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(levels), dtype=np.uint8)


def on_white(image: Image.Image) -> Image.Image:
    """What shows through is white: the page behind a picture; the colour under clear parts is noise."""
    if image.mode == "La":  # converts to LA alone
        image = image.convert("LA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))


def turn_upright(picture: Image.Image, stored: ImageFile) -> Image.Image:
    """`picture` turned as the EXIF of `stored` says; a corrupt EXIF says nothing."""
    if ORIENTED.isdisjoint(stored.info) and not isinstance(stored, TiffImageFile):
        return picture
    try:
        turn = UPRIGHT.get(stored.getexif().get(ExifTags.Base.Orientation))
    except Exception:
        logger.debug("unreadable EXIF; picture taken as stored", exc_info=True)
        turn = None
    return picture if turn is None else picture.transpose(turn)


def to_array(picture: Image.Image) -> NDArray[np.uint8]:
    """H×W pixels of C channels as C×H×W, a view of them as they lie."""
    width, height = picture.size
    row = width * len(picture.getbands())
    if row * height <= LARGE:
        pixels = bytearray(picture.tobytes())  # a bytearray: torch takes only what may be written to
        lying = np.ndarray((height, width, row // width), np.uint8, pixels)
    else:
        lying = np.empty((height, width, row // width), np.uint8)
        step = max(1, STRIP // row)
        for top in range(0, height, step):
            strip = picture.crop((0, top, width, min(top + step, height)))
            lying[top : top + step] = np.frombuffer(strip.tobytes(), np.uint8).reshape(-1, *lying.shape[1:])
    return lying.transpose(2, 0, 1)
