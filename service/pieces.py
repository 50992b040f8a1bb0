"""Refuse files in millions of pieces, which Pillow goes through in Python for seconds, with gigabytes."""

from io import BytesIO

import numpy as np
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from service.errors import TooLarge

# A file of 32 MB in chunks of 4 KiB has 8,192. Pillow takes 6 µs for each.
MAX_CHUNKS = 2**15
MAX_PROFILES = 4  # the standard allows one; each is unpacked, and 1 KB unpacks to a megabyte
MAX_READS = 2**18  # from one file, of any other format: 0.1 s
# Of all tags together, but texts and bytes: a picture in strips of a row has two a row. Pillow takes 2 µs
# and 170 bytes for each that is a fraction.
MAX_TAG_NUMBERS = 2**17
SMALL = 8192  # bytes: whatever is in them takes no time

BYTES_AND_TEXTS = (1, 2, 7)  # types of tags
SUB_DIRECTORIES = (0x8769, 0x8825, 0xA005)  # EXIF, GPS, interoperability: Pillow reads their tags too


class CountedFile(BytesIO):
    """A file in memory that may be read from so many times. Raises TooLarge at one more.

    Every step of Pillow's readers, from segment to segment or over bytes of none, is a read.
    """

    def __init__(self, data: bytes, most: int = MAX_READS) -> None:
        super().__init__(data)
        self.most = self.left = most

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise TooLarge(f"image takes more than {self.most:,} reads, the limit: it is in too many pieces")
        return super().read(size)


class PlainJpeg(JpegImageFile):
    """Pillow's reader without its look for a resolution in the EXIF, which nobody here asks for."""

    def _read_dpi_from_exif(self) -> None:
        pass


def check_chunks(data: bytes) -> None:
    """Refuse a PNG of too many chunks or colour profiles: TooLarge."""
    at, chunks, profiles = 8, 0, 0
    while at < len(data):
        kind = data[at + 4 : at + 8]
        chunks += 1
        profiles += kind == b"iCCP"
        if kind == b"IEND":
            return
        if chunks > MAX_CHUNKS:
            raise TooLarge(f"image is a PNG of more than {MAX_CHUNKS:,} chunks, which is the limit")
        if profiles > MAX_PROFILES:
            raise TooLarge(f"image is a PNG of more than {MAX_PROFILES} colour profiles, which is the limit")
        at += 12 + int.from_bytes(data[at : at + 4])


def check_tags(data: bytes) -> None:
    """Refuse a TIFF, or an EXIF block, whose tags hold too many numbers: TooLarge."""
    numbers = 0 if len(data) < SMALL else count_numbers(data)
    if numbers > MAX_TAG_NUMBERS:
        raise TooLarge(f"image has {numbers:,} numbers in its tags; the limit is {MAX_TAG_NUMBERS:,}")


def count_numbers(data: bytes) -> int:
    """Count the numbers in the tags of the first directory of a TIFF and of those it points at."""
    order = ">" if data[:2] == b"MM" else "<"
    big = 43 in data[2:4]
    long, wide = ("u8", 8) if big else ("u4", 4)
    entry = np.dtype(
        [("tag", order + "u2"), ("type", order + "u2"), ("count", order + long), ("at", order + long)]
    )
    head = 8 if big else 2

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "big" if order == ">" else "little")

    numbers, seen, ahead = 0, set[int](), [number(8 if big else 4, wide)]
    while ahead:
        at = ahead.pop()
        present = min(number(at, head), max(0, len(data) - at - head) // entry.itemsize)
        if at in seen or not present:
            continue
        seen.add(at)
        entries = np.frombuffer(data, entry, present, at + head)
        is_number = ~np.isin(entries["type"], BYTES_AND_TEXTS)
        counts = entries["count"][is_number]
        numbers += int(counts[counts <= len(data)].sum())  # Pillow skips tags that claim more than the file
        ahead += entries["at"][np.isin(entries["tag"], SUB_DIRECTORIES)][:8].tolist()
    return numbers


def check_exif(image: ImageFile) -> None:
    """Refuse a picture whose EXIF holds too many numbers: TooLarge."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        check_tags(exif.removeprefix(b"Exif\0\0"))
