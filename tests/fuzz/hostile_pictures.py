"""Pictures that lie, swell or never end: PNG, JPEG and WebP."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz.corpus import MEGABYTE, Made

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGE = 12 * MEGABYTE


def saved(form: str, size: tuple[int, int] = (48, 40), mode: str = "RGB", **options: Any) -> bytes:
    """Encode a picture with edges and noise."""
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 64, (height, width, 3), np.uint8)
    pixels[:, width // 2 :] += 128
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """Write a PNG chunk, with a length of one's own."""
    head = struct.pack(">I", len(data) if length is None else length)
    return head + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int = 8,
    height: int = 8,
    before: bytes = b"",
    pixels: bytes | None = None,
    depth: int = 8,
    colour: int = 2,
    interlaced: int = 0,
    after: bytes = b"",
) -> bytes:
    """Write a PNG by hand."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    if pixels is None:
        pixels = zlib.compress(b"\0" * (height * (1 + width * 3)))
    data = chunk(b"IDAT", pixels)
    return SIGNATURE + chunk(b"IHDR", header) + before + data + after + chunk(b"IEND")


def bomb(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def exif(numbers: int, tag: int = 0x0112, kind: int = 5) -> bytes:
    """Write an EXIF block whose one tag holds so many numbers: Pillow makes a fraction of each."""
    entry = struct.pack("<HHII", tag, kind, numbers, 26)
    return b"II*\0\x08\0\0\0\1\0" + entry + b"\0" * 4 + b"\1\0\0\0" * 2 * numbers


def with_frames(number: int) -> bytes:
    frame = struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 1, 0, 0)
    frames = b"".join(chunk(b"fcTL", frame) + chunk(b"fdAT", b"\0\0\0\1" + bomb(9)) for _ in range(number))
    return png(before=chunk(b"acTL", struct.pack(">II", number, 0)), after=frames)


XMP = b"XML:com.adobe.xmp\0"
PNGS: list[Made] = [
    ("png 50,000×50,000", lambda: png(50_000, 50_000, pixels=b""), "50000×50000 pixels (2500.0 megapixels)"),
    ("png 2^31-1 wide", lambda: png(2**31 - 1, 2**31 - 1, pixels=b""), "the limit is 25.0 megapixels"),
    ("png of 0 pixels", lambda: png(0, 0, pixels=b""), ""),
    ("png whose IDAT swells", lambda: png(pixels=bomb(200 * MEGABYTE)), ""),
    ("png whose IDAT is no deflate", lambda: png(pixels=b"noise" * 99), ""),
    ("png of empty chunks", lambda: png(before=chunk(b"abCd") * (LARGE // 12)), "more than 32,768 chunks"),
    ("png of empty IDATs", lambda: png(before=chunk(b"IDAT") * (LARGE // 12)), "more than 32,768 chunks"),
    ("png of texts", lambda: png(before=chunk(b"tEXt", b"a\0b") * (LARGE // 15)), "more than 32,768 chunks"),
    (
        "png of texts at its end",
        lambda: png(after=chunk(b"tEXt", b"a\0b") * 10**6),
        "more than 32,768 chunks",
    ),
    ("png zTXt bomb", lambda: png(before=chunk(b"zTXt", b"a\0\0" + bomb(99 * MEGABYTE)) * 9), ""),
    ("png zTXt of a megabyte, often", lambda: png(before=chunk(b"zTXt", b"a\0\0" + bomb(MEGABYTE)) * 99), ""),
    ("png iTXt bomb", lambda: png(before=chunk(b"iTXt", XMP + b"\1\0\0\0" + bomb(99 * MEGABYTE))), ""),
    (
        "png iTXt of a megabyte, often",
        lambda: png(before=chunk(b"iTXt", XMP + b"\1\0\0\0" + bomb(10**6)) * 99),
        "",
    ),
    ("png iCCP bomb", lambda: png(before=chunk(b"iCCP", b"a\0\0" + bomb(99 * MEGABYTE))), ""),
    (
        "png of a thousand profiles",
        lambda: png(before=chunk(b"iCCP", b"a\0\0" + bomb(MEGABYTE - 1)) * 1000),
        "more than 4 colour profiles",
    ),
    ("png whose profile is nonsense", lambda: png(before=chunk(b"iCCP", b"a\0\0noise")), ""),
    ("png whose profile has no end", lambda: png(before=chunk(b"iCCP", b"a")), ""),
    ("png of 10,000 frames", lambda: with_frames(10_000), ""),
    ("png of 2^31 frames", lambda: png(before=chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))), ""),
    ("png whose chunk is 4 GB", lambda: png(before=chunk(b"tEXt", b"a\0b", length=2**32 - 1)), ""),
    ("png whose header is short", lambda: SIGNATURE + chunk(b"IHDR", b"\0\0\0\1"), ""),
    ("png without a header", lambda: SIGNATURE + chunk(b"IDAT", bomb(9)) + chunk(b"IEND"), ""),
    ("png of two headers", lambda: png(before=png()[8:33]), ""),
    ("png of 16 bits, interlaced", lambda: png(900, 900, b"", bomb(7_000_000), 16, 6, 1), ""),
    ("png whose palette is missing", lambda: png(pixels=bomb(99), colour=3), ""),
    (
        "png whose palette is 24 MB",
        lambda: png(pixels=bomb(99), colour=3, before=chunk(b"PLTE", bytes(LARGE))),
        "",
    ),
    ("png of impossible depth", lambda: png(depth=255, colour=255), ""),
    (
        "png with rational EXIF",
        lambda: png(before=chunk(b"eXIf", exif(10**6))),
        "1,000,000 numbers in its tags",
    ),
    (
        "png with XMP of megabytes",
        lambda: png(before=chunk(b"iTXt", XMP + b"\0\0\0\0tiff:Orientation=" * 10**6)),
        "",
    ),
    ("png with a false checksum", lambda: png()[:-20] + b"\0" * 20, ""),
]


def jpeg(middle: bytes = b"", size: tuple[int, int] | None = None, **options: Any) -> bytes:
    """Write a JPEG with more after its first marker, and a size that may lie."""
    body = saved("JPEG", **options)
    if size:
        at = body.index(b"\xff\xc0") + 5
        body = body[:at] + struct.pack(">HH", *size) + body[at + 4 :]
    return body[:2] + middle + body[2:]


def scans(number: int) -> bytes:
    body = saved("JPEG", progressive=True)
    return body[:-2] + body[body.rindex(b"\xff\xda") : -2] * number + body[-2:]


def in_segments(block: bytes, kind: bytes = b"\xff\xe1", start: bytes = b"Exif\0\0") -> bytes:
    pieces = [start + block[at : at + 65_000] for at in range(0, len(block), 65_000)]
    return b"".join(kind + struct.pack(">H", len(piece) + 2) + piece for piece in pieces)


MANY = "more than 262,144 reads"
JPEGS: list[Made] = [
    ("jpeg 65,500×65,500", lambda: jpeg(size=(65_500, 65_500)), "65500×65500 pixels (4290.2 megapixels)"),
    ("jpeg 0×0", lambda: jpeg(size=(0, 0)), ""),
    ("jpeg taller than its data", lambda: jpeg(size=(5000, 5000)), ""),
    ("jpeg of 10,000 scans", lambda: scans(10_000), "more than 100 scans"),
    ("jpeg of empty comments", lambda: jpeg(b"\xff\xfe\0\2" * (LARGE // 4)), MANY),
    ("jpeg of empty segments", lambda: jpeg(b"\xff\xe1\0\2" * (LARGE // 4)), MANY),
    ("jpeg of segments of length 0", lambda: jpeg(b"\xff\xe1\0\0" * (LARGE // 4)), MANY),
    ("jpeg of empty tables", lambda: jpeg(b"\xff\xdb\0\2" * (LARGE // 4)), MANY),
    ("jpeg of fill bytes", lambda: jpeg(b"\xff" * LARGE), MANY),
    ("jpeg of restarts", lambda: jpeg(b"\xff\xd0" * (LARGE // 2)), MANY),
    ("jpeg of ends", lambda: jpeg(b"\xff\xd9" * (LARGE // 2)), MANY),
    ("jpeg of starts", lambda: jpeg(b"\xff\xd8" * (LARGE // 2)), MANY),
    ("jpeg of tiny profiles", lambda: jpeg(b"\xff\xe2\0\x12ICC_PROFILE\0\1\1xx" * (LARGE // 20)), MANY),
    ("jpeg with rational EXIF", lambda: jpeg(in_segments(exif(10**6))), "1,000,000 numbers in its tags"),
    ("jpeg with rational resolution", lambda: jpeg(in_segments(exif(10**6, 0x011A))), "numbers in its tags"),
    ("jpeg with EXIF nonsense", lambda: jpeg(in_segments(b"II*\0" + b"\xff" * 60_000)), ""),
    (
        "jpeg whose EXIF points at itself",
        lambda: jpeg(in_segments(b"MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08")),
        "",
    ),
    (
        "jpeg with Photoshop blocks",
        lambda: jpeg(in_segments(b"8BIM\0\1\0\0\0\0\0\0" * 10**6, b"\xff\xed", b"Photoshop 3.0\0")),
        "",
    ),
    (
        "jpeg with ICC nonsense",
        lambda: jpeg(in_segments(b"noise" * 9, b"\xff\xe2", b"ICC_PROFILE\0\1\1")),
        "",
    ),
    ("jpeg CMYK", lambda: saved("JPEG", mode="CMYK"), ""),
    ("jpeg whose header is alone", lambda: b"\xff\xd8\xff", ""),
    ("jpeg and a page", lambda: jpeg() + b"<script>alert(1)</script>", ""),
    ("jpeg and a zip", lambda: jpeg() + b"PK\3\4" + bytes(99), ""),
]


def webp(more: bytes = b"", **options: Any) -> bytes:
    body = saved("WEBP", **options) + more
    return body[:4] + struct.pack("<I", len(body) - 8) + body[8:]


def animated_webp(frames: int = 300, canvas: bytes = b"") -> bytes:
    pictures = [Image.new("RGB", (16, 16), (place % 256, place // 256, 9)) for place in range(frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:])
    body = buffer.getvalue()
    return body[:24] + canvas + body[24 + len(canvas) :]


WEBPS: list[Made] = [
    ("webp of 300 frames", animated_webp, ""),
    (
        "webp whose canvas is 16384×16384",
        lambda: animated_webp(2, b"\xff\x3f\0\xff\x3f\0"),
        "",
    ),
    ("webp whose canvas is 2^24 wide", lambda: animated_webp(2, b"\xff" * 6), ""),
    ("webp of empty chunks", lambda: webp(b"abcd\0\0\0\0" * (LARGE // 8), exif=exif(1)), ""),
    ("webp with rational EXIF", lambda: webp(exif=exif(10**6)), "1,000,000 numbers in its tags"),
    ("webp with XMP of megabytes", lambda: webp(xmp=b"<tiff:Orientation>" * 10**6), ""),
    ("webp whose length is 4 GB", lambda: b"RIFF\xff\xff\xff\xff" + webp()[8:], ""),
    ("webp whose length is 0", lambda: b"RIFF\0\0\0\0" + webp()[8:], ""),
    ("webp without loss", lambda: webp(lossless=True), ""),
]
