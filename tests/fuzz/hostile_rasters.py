"""Pictures that lie, swell or never end: GIF, BMP, TIFF; and what only starts like a picture."""

import random
import struct
import zlib
from collections.abc import Callable, Iterator

from tests.fuzz.corpus import MEGABYTE, Made
from tests.fuzz.hostile_pictures import JPEGS, LARGE, MANY, PNGS, WEBPS, jpeg, png, saved


def gif(middle: bytes = b"", size: tuple[int, int] | None = None) -> bytes:
    """Write a GIF with more before its first picture, and a screen that may lie."""
    body = saved("GIF", mode="P")
    at = body.index(b",\0\0\0\0")
    if size:
        body = body[:6] + struct.pack("<HH", *size) + body[10:]
    return body[:at] + middle + body[at:]


def gif_frames(number: int) -> bytes:
    body = gif()
    return body[:-1] + body[body.index(b",\0\0\0\0") : -1] * number + b";"


GIFS: list[Made] = [
    ("gif of 10,000 frames", lambda: gif_frames(10_000), ""),
    ("gif 65,535×65,535", lambda: gif(size=(65_535, 65_535)), "65535×65535 pixels"),
    ("gif 0×0", lambda: gif(size=(0, 0)), ""),
    ("gif of empty extensions", lambda: gif(b"!\xfa\0" * (LARGE // 3)), ""),
    ("gif of tiny comments", lambda: gif(b"!\xfe\1c\0" * (LARGE // 5)), MANY),
    ("gif of a comment of megabytes", lambda: gif(b"!\xfe" + (b"\xff" + b"c" * 255) * 60_000 + b"\0"), ""),
    ("gif of controls", lambda: gif(b"!\xf9\4\0\0\0\0\0" * (LARGE // 8)), MANY),
    ("gif of junk", lambda: gif(b"\1" * LARGE), MANY),
    ("gif whose data ends at once", lambda: gif()[:-10], ""),
    ("gif whose codes are noise", lambda: gif()[:-60] + random.Random(0).randbytes(60), ""),
]


def bmp(
    width: int = 8,
    height: int = 8,
    depth: int = 24,
    compression: int = 0,
    data: bytes = bytes(192),
    colours: int = 0,
) -> bytes:
    """Write a BMP by hand."""
    start = 54 + 4 * (colours or (256 if depth <= 8 else 0))
    head = struct.pack("<IHHI", len(data), 0, 0, start % 2**32)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, compression, len(data), 0, 0, colours, 0)
    return b"BM" + head + info + bytes(min(start, 1078) - 54) + data


RUNS = "BMP of run lengths, 5000×5000 pixels; the limit of such is 4.0 megapixels"
BMPS: list[Made] = [
    ("bmp 2^31-1 wide", lambda: bmp(2**31 - 1, 2**31 - 1), "the limit is 25.0 megapixels"),
    ("bmp of negative width", lambda: bmp(-8, 8), ""),
    ("bmp of negative height", lambda: bmp(8, -8), ""),
    ("bmp of the least height", lambda: bmp(8, -(2**31)), ""),
    ("bmp 0×0", lambda: bmp(0, 0), ""),
    ("bmp of run lengths, long", lambda: bmp(5000, 5000, 8, 1, b"\1\2" * (LARGE // 2)), RUNS),
    ("bmp of run lengths, short", lambda: bmp(5000, 5000, 8, 1, b"\1\2\0\0" * 5000), RUNS),
    ("bmp of runs beyond the row", lambda: bmp(2000, 1999, 8, 1, b"\xff\2" * (LARGE // 2)), "reads"),
    ("bmp of short runs", lambda: bmp(2000, 2000, 8, 1, b"\1\2" * 2 * 10**6), ""),
    ("bmp of ends of rows", lambda: bmp(2000, 2000, 8, 1, b"\1\2\0\0" * 2000), ""),
    ("bmp of deltas", lambda: bmp(2000, 2000, 8, 1, b"\0\2\xff\xff" * 999), ""),
    ("bmp of runs of 4 bits", lambda: bmp(2000, 2000, 4, 2, b"\xff\x12" * 10**5), ""),
    ("bmp of 2^31 colours", lambda: bmp(colours=2**31 - 1), ""),
    ("bmp of 0 bits", lambda: bmp(depth=0), ""),
    ("bmp with masks", lambda: bmp(compression=3), ""),
    ("bmp that holds a jpeg", lambda: bmp(compression=4, data=jpeg()), ""),
]

Tags = dict[int, tuple[int, int, int | None]]


def tiff(
    change: Tags | None = None, data: bytes = bytes(256), following: int = 0, big: bool = False
) -> bytes:
    """Write a grey TIFF of 8×8: tags are type, count and value, None being the place of `data`."""
    tags: Tags = {256: (3, 1, 8), 257: (3, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    tags |= {273: (4, 1, None), 277: (3, 1, 1), 278: (3, 1, 8), 279: (4, 1, 64)} | (change or {})
    if big:
        start, count, entry, end = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16), "<Q", "<HHQQ", "<Q"
    else:
        start, count, entry, end = b"II*\0\x08\0\0\0", "<H", "<HHII", "<I"
    at = len(start) + struct.calcsize(count) + struct.calcsize(entry) * len(tags) + struct.calcsize(end)
    entries = [
        struct.pack(entry, tag, *pair, at if value is None else value) for tag, (*pair, value) in tags.items()
    ]
    return start + struct.pack(count, len(tags)) + b"".join(entries) + struct.pack(end, following) + data


def in_strips(number: int) -> bytes:
    change: Tags = {
        256: (3, 1, 1),
        257: (4, 1, number),
        278: (3, 1, 1),
        273: (4, number, None),
        279: (4, number, None),
    }
    return tiff(change, b"\x08\0\0\0" * number)


NUMBERS = "numbers in its tags; the limit is 131,072"
WORDS = b"\1\0\0\0"
TIFFS: list[Made] = [
    ("tiff whose directory is its own next", lambda: tiff(following=8), ""),
    (
        "tiff of a chain of directories",
        lambda: tiff(following=378) + b"".join(struct.pack("<HI", 0, 384 + 6 * n) for n in range(10**6)),
        "",
    ),
    ("tiff whose directory lies outside", lambda: b"II*\0\xff\xff\xff\xff", ""),
    (
        "tiff 2^31 wide",
        lambda: tiff({256: (4, 1, 2**31), 257: (4, 1, 2**31)}),
        "the limit is 25.0 megapixels",
    ),
    ("tiff of 4 million strips", lambda: in_strips(4 * 10**6), NUMBERS),
    ("tiff of 60,000 strips", lambda: in_strips(60_000), ""),
    (
        "tiff whose width is a million fractions",
        lambda: tiff({256: (5, 10**6, None)}, WORDS * 2 * 10**6),
        NUMBERS,
    ),
    (
        "tiff whose resolution is a million fractions",
        lambda: tiff({282: (5, 10**6, None)}, WORDS * 2 * 10**6),
        NUMBERS,
    ),
    ("tiff of ten million depths", lambda: tiff({258: (3, 10**7, None)}, WORDS * 5 * 10**6), NUMBERS),
    (
        "tiff with a sub-directory of fractions",
        lambda: tiff(
            {0x8769: (4, 1, None)},
            struct.pack("<HHHII", 1, 282, 5, 10**6, 152) + bytes(4) + WORDS * 2 * 10**6,
        ),
        NUMBERS,
    ),
    ("tiff of 4 GB in a tag", lambda: tiff({282: (5, 2**32 - 1, 8)}), ""),
    (
        "tiff of 65,535 tags",
        lambda: (
            b"II*\0\x08\0\0\0\xff\xff" + b"".join(struct.pack("<HHII", tag, 3, 1, 1) for tag in range(65_535))
        ),
        "",
    ),
    (
        "big tiff of 2^64 tags",
        lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**64 - 1) + bytes(MEGABYTE),
        "",
    ),
    ("big tiff", lambda: tiff(big=True), ""),
    ("tiff of no tags", lambda: b"II*\0\x08\0\0\0\0\0\0\0\0\0", ""),
    ("tiff of 0 bits", lambda: tiff({258: (3, 1, 0)}), ""),
    ("tiff of 65,535 samples", lambda: tiff({277: (3, 1, 65_535)}), ""),
    (
        "tiff of tiles of 32768×32768",
        lambda: tiff({322: (4, 1, 32_768), 323: (4, 1, 32_768), 324: (4, 1, 8), 325: (4, 1, 9)}),
        "1 tiles of 32768×32768 pixels",
    ),
    (
        "tiff of tiles of 0×0",
        lambda: tiff({322: (4, 1, 0), 323: (4, 1, 0), 324: (4, 1, 8), 325: (4, 1, 9)}),
        "",
    ),
    ("tiff whose compression is unknown", lambda: tiff({259: (3, 1, 60_000)}), ""),
    ("tiff whose LZW is noise", lambda: tiff({259: (3, 1, 5)}, b"\xaa" * 256), ""),
    ("tiff whose deflate is noise", lambda: tiff({259: (3, 1, 8)}, b"\xaa" * 256), ""),
    ("tiff whose JPEG is noise", lambda: tiff({259: (3, 1, 7)}, b"\xff\xd8\xff\xaa" * 64), ""),
]

WHOLE: dict[str, bytes] = {
    **{form: saved(form) for form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")},
    "GIF": saved("GIF", mode="P"),
    "TIFF-LZW": saved("TIFF", compression="tiff_lzw"),
    "JPEG-progressive": saved("JPEG", progressive=True),
    "PNG-16": png(8, 8, pixels=zlib.compress(bytes(8 * 49)), depth=16),
}


def noisy(start: bytes, size: int, seed: int) -> Callable[[], bytes]:
    return lambda: start + random.Random(seed).randbytes(size)


STARTS = {
    "png": png()[:33],
    **{
        "jpeg": b"\xff\xd8\xff\xe0",
        "webp": b"RIFF\0\1\0\0WEBPVP8 ",
        "gif": b"GIF89a",
        "tiff": b"II*\0\x08\0\0\0",
    },
    "bmp": bmp()[:18],
}
NOISE: list[Made] = [
    *(
        (f"{name} and {size} bytes of noise", noisy(start, size, seed), "")
        for name, start in STARTS.items()
        for seed, size in enumerate((3, 300, 30_000, MEGABYTE))
    ),
    ("nothing", lambda: b"", ""),
    ("zeros", lambda: bytes(MEGABYTE), "not a JPEG, PNG"),
    ("a page", lambda: b"<html>" * 9999, "not a JPEG, PNG"),
    ("an svg of entities", lambda: b"<!DOCTYPE svg [<!ENTITY a 'aaaa'>]><svg>&a;</svg>", "not a JPEG, PNG"),
    ("a pickle", lambda: b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.", "not a JPEG, PNG"),
    ("a zip", lambda: b"PK\3\4" + bytes(999), "not a JPEG, PNG"),
    ("a postscript", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG, PNG"),
    ("a gif that is a page", lambda: b"GIF89a/*" + b"*/=alert(1)//" * 99, ""),
]

PICTURES = PNGS + JPEGS + WEBPS + GIFS + BMPS + TIFFS + NOISE


def truncated(body: bytes) -> Iterator[bytes]:
    """Cut a file at each of its first 64 bytes and last 16, and at 48 places between."""
    places = {*range(64), *range(len(body) - 16, len(body)), *range(64, len(body), max(1, len(body) // 48))}
    return (body[:place] for place in sorted(places))
