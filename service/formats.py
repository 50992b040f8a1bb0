"""The formats served, each with its reader, and what a picture may cost, known before a pixel is decoded."""

import re
from collections.abc import Callable
from io import BytesIO
from typing import IO

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import TooLarge, UndecodablePicture
from service.pieces import CountedFile, PlainJpeg, check_chunks, check_exif, check_tags

# Name, how such a file starts, Pillow's reader. The readers by name and not `Image.open`: that one
# knows 40 formats, and checks a pixel limit of its own that is process-wide, only warns up to twice
# its value, and cannot say how wide and high the picture is.
FORMATS: tuple[tuple[str, re.Pattern[bytes], Callable[[IO[bytes]], ImageFile]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff"), PlainJpeg),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    ("WebP", re.compile(rb"(?s)RIFF.{4}WEBP"), WebPImageFile),
    ("GIF", re.compile(rb"GIF8[79]a"), GifImageFile),
    ("BMP", re.compile(rb"(?s)BM.{12}[\x0c-\x7c]\0\0\0"), BmpImageFile),  # BM alone starts words too
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImageFile),
)
SERVED = "JPEG, PNG, WebP, GIF, BMP or TIFF"

# What can cost hours of a thread, or gigabytes, and stay below the pixel limit.
MAX_SCANS = 100  # of one JPEG; encoders write about 10, and libtiff draws the line here as well
SHORT = 8192  # bytes: below, counting what may be scans is quicker than to go from marker to marker
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")  # those that a length follows, and the end
# Pillow unpacks run lengths in Python: 0.3 µs a pixel, or 1 µs a run of two bytes.
RUN_LENGTHS = (1, 2)  # compressions of a BMP
MAX_RUN_PIXELS = 4_000_000
MAX_RUN_READS = 2**21
# Not fax: for each damaged row the C library prints a line to stderr, and 2 MB hold millions.
TIFF_COMPRESSIONS = {
    *("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "zstd", "jpeg"),
}


def identify(data: bytes) -> tuple[str, Callable[[IO[bytes]], ImageFile]]:
    """The format's name and its reader, by the first bytes: a declared type or a file name may lie."""
    if not data:
        raise UndecodablePicture("the picture is empty (0 bytes)")
    for name, start, read in FORMATS:
        if start.match(data):
            return name, read
    raise UndecodablePicture(f"not a {SERVED} picture")


def open_file(name: str, read: Callable[[IO[bytes]], ImageFile], data: bytes) -> ImageFile:
    """Read the header of a file of the format `name`. Raises TooLarge for one in too many pieces."""
    match name:
        case "PNG":
            check_chunks(data)
        case "TIFF":
            check_tags(data)
        case "BMP":
            return read(CountedFile(data, MAX_RUN_READS))
        case "JPEG" | "GIF":
            return read(CountedFile(data))
    return read(BytesIO(data))


def check_cost(image: ImageFile, data: bytes, max_pixels: int) -> None:
    """Refuse by its header what is too large to decode: TooLarge."""
    width, height = image.size
    if width * height > max_pixels:
        raise TooLarge(
            f"image is {width}×{height} pixels ({in_words(width * height)});"
            f" the limit is {in_words(max_pixels)}"
        )
    check_exif(image)
    if isinstance(image, PlainJpeg):
        check_scans(data)
    if isinstance(image, BmpImageFile):
        check_runs(image)
    if isinstance(image, TiffImageFile):
        check_tiff(image, max_pixels)


def check_scans(data: bytes) -> None:
    """Each scan of a JPEG goes over the whole picture, and ten bytes can ask for one."""
    if len(data) < SHORT and data.count(b"\xff\xda") <= MAX_SCANS:
        return
    at, scans = 2, 0
    while (marker := JPEG_MARKER.search(data, at)) and marker[0] != b"\xff\xd9":
        scans += marker[0] == b"\xff\xda"
        if scans > MAX_SCANS:
            raise TooLarge(f"image is a JPEG of more than {MAX_SCANS} scans, which is the limit")
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])


def check_runs(image: BmpImageFile) -> None:
    width, height = image.size
    if image.info.get("compression") in RUN_LENGTHS and width * height > MAX_RUN_PIXELS:
        raise TooLarge(
            f"image is a BMP of run lengths, {width}×{height} pixels; the limit of such is"
            f" {in_words(MAX_RUN_PIXELS)}: save it uncompressed"
        )


def check_tiff(image: TiffImageFile, max_pixels: int) -> None:
    compression = image.info["compression"]
    if compression not in TIFF_COMPRESSIONS:
        raise UndecodablePicture(
            f"TIFF compression {compression} is not served; save with deflate, LZW, JPEG or none"
        )
    if TILEWIDTH in image.tag_v2:
        # Whole tiles are decoded: a 16×16 picture in one tile of 32768×32768 costs a gigabyte. Tiles
        # rightly stick out at the edges, hence twice the limit.
        width, height = image.tag_v2[TILEWIDTH], image.tag_v2[TILELENGTH]
        tiles = -(-image.width // width) * -(-image.height // height)
        if tiles * width * height > 2 * max_pixels:
            raise TooLarge(
                f"image is stored in {tiles} tiles of {width}×{height} pixels;"
                f" the limit is {in_words(2 * max_pixels)}"
            )


def in_words(pixels: int) -> str:
    return f"{pixels / 1e6:.1f} megapixels" if pixels >= 100_000 else f"{pixels} pixels"
