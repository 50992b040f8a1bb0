"""Real photographs, saved in every format and mode, against pixels worked out here with NumPy."""

import io
import logging
import resource
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.color import hsv2rgb, lab2rgb

from service.errors import ServiceError, TooLarge, UndecodablePicture, UnsupportedType
from service.images import PICTURE_TYPES, check_picture_type, decode_image, to_eight_bits

# Pillow warns of odd metadata, which decides nothing here; its bomb warning is another class.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")

LIMIT = 1_000_000
HOLDS = {  # what Pillow can write; the other modes are tested without a file
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("1", "L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": (
        *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"),
        *("I;16", "I;16B", "I", "F"),
    ),
}
OFFICIAL_NAMES = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "GIF": "GIF", "BMP": "BMP", "TIFF": "TIFF"}
TOLERANCE = {"LA": 1, "La": 2, "PA": 1, "RGBA": 1, "RGBa": 2, "CMYK": 1, "YCbCr": 2, "LAB": 6, "HSV": 4}


def shipped(name: str) -> bytes:
    """A file inside the scikit-image package: nothing is downloaded."""
    return (Path(skimage.__file__).parent / "data" / name).read_bytes()


@cache
def photo(width: int = 96, height: int = 64) -> Image.Image:
    """The face of Chelsea the cat, RGB; wider than high, so that a swap of axes shows."""
    with Image.open(io.BytesIO(shipped("chelsea.png"))) as cat:
        return cat.convert("RGB").crop((90, 40, 378, 232)).resize((width, height))


@cache
def ramp(width: int, height: int) -> np.ndarray:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def in_mode(mode: str, picture: Image.Image | None = None) -> Image.Image:
    """The photograph in any of Pillow's modes; with alpha it fades in from left to right."""
    picture = picture or photo()
    grey = picture.convert("L")
    wide = np.asarray(grey).astype(np.uint16) * 256 + ramp(*picture.size)
    made = {
        "F": lambda: Image.fromarray(np.asarray(grey).astype(np.float32) / 255),
        "I": lambda: Image.fromarray(wide.astype(np.int32)),
        "I;16B": lambda: Image.frombytes(mode, picture.size, wide.astype(">u2").tobytes()),
        "P": lambda: picture.quantize(64),
    }
    if mode.startswith("I;16"):
        made.setdefault(mode, lambda: Image.frombytes(mode, picture.size, wide.tobytes()))
    if mode.endswith(("A", "a")):
        base = {"PA": picture.quantize(64), "RGBA": picture, "RGBa": picture}.get(mode, grey)
        faded = base.convert(mode.upper())
        faded.putalpha(Image.fromarray(ramp(*picture.size)))
        made[mode] = lambda: faded.convert(mode)
    return made.get(mode, lambda: picture.convert(mode))()


def in_grey(values: np.ndarray, scale: float) -> np.ndarray:
    return np.repeat(np.rint(values * scale)[..., None], 3, axis=2)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.repeat(colours * alpha / 255 + 255 - alpha, 3 // colours.shape[2], axis=2)


def from_ycbcr(values: np.ndarray) -> np.ndarray:
    y, cb, cr = np.moveaxis(values - [0, 128, 128], -1, 0)
    return np.stack([y + 1.402 * cr, y - 0.344 * cb - 0.714 * cr, y + 1.772 * cb], -1).clip(0, 255)


def expected(picture: Image.Image) -> np.ndarray:
    """H×W×3 floats, 0..255: what a page shows, from the definition of each mode."""
    mode, raw = picture.mode, np.asarray(picture)
    if mode == "P":
        return np.reshape(picture.getpalette("RGB"), (-1, 3))[raw].astype(float)
    values = raw.astype(float)
    colours, last = values[..., :-1], values[..., -1:]
    by_mode = {
        "1": lambda: in_grey(values, 255),
        "L": lambda: in_grey(values, 1),
        "F": lambda: in_grey(values, 255),
        "PA": lambda: on_white(np.asarray(picture.convert("RGB")).astype(float), last),
        "LA": lambda: on_white(colours, last),
        "RGBA": lambda: on_white(colours, last),
        "La": lambda: in_grey((colours + 255 - last)[..., 0], 1),
        "RGBa": lambda: colours + 255 - last,
        "RGB": lambda: values,
        "RGBX": lambda: colours,
        "CMYK": lambda: (255 - colours) * (255 - last) / 255,
        "YCbCr": lambda: from_ycbcr(values),
        "HSV": lambda: hsv2rgb(values / 255) * 255,
        "LAB": lambda: lab2rgb(np.dstack([values[..., 0] / 2.55, raw.view(np.int8)[..., 1:]])) * 255,
    }
    return by_mode.get(mode, lambda: in_grey(values, 1 / 257))()


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    body = io.BytesIO()
    picture.save(body, kind, **options)
    return body.getvalue()


def lossless(picture: Image.Image, kind: str, **options: Any) -> bytes:
    if kind == "WEBP":
        options |= {"lossless": True, "exact": True}
    if picture.mode not in ("La", "RGBa"):
        return saved(picture, kind, **options)
    # Pillow writes no premultiplied TIFF but reads them: the tag that says so is 2 for straight alpha.
    body = saved(Image.merge(picture.mode.upper(), picture.split()), kind, **options)
    straight, premultiplied = (struct.pack("<HHLHH", 338, 3, 1, value, 0) for value in (2, 1))
    assert body.count(straight) == 1
    return body.replace(straight, premultiplied)


def decode(data: bytes, channels: int = 3) -> np.ndarray:
    return decode_image(data, max_pixels=LIMIT, channels=channels)


def hwc(data: bytes) -> np.ndarray:
    return decode(data).transpose(1, 2, 0).astype(float)


@cache
def tiny(kind: str, mode: str) -> bytes:
    picture = in_mode(mode, photo(12, 9))
    return saved(picture, "JPEG", exif=exif(6)) if kind == "JPEG" else lossless(picture, kind)


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[274] = orientation
    return block.tobytes()


ONE_OF_EACH = [("JPEG", "RGB"), *((kind, modes[-1]) for kind, modes in HOLDS.items())]
ALL_FILES = [("JPEG", "L"), ("JPEG", "CMYK"), *((kind, mode) for kind in HOLDS for mode in HOLDS[kind])]


# The picture


@pytest.mark.parametrize(("kind", "mode"), ALL_FILES[2:])
def test_a_lossless_file_gives_its_pixels_back(kind, mode):
    picture = in_mode(mode)
    pixels = decode(lossless(picture, kind))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, 64, 96)
    assert pixels.transpose(1, 2, 0).flags.c_contiguous
    assert pixels.flags.writeable  # torch.from_numpy warns of arrays that are not
    np.testing.assert_allclose(pixels.transpose(1, 2, 0), expected(picture), atol=TOLERANCE.get(mode, 0))


@pytest.mark.parametrize("mode", sorted(Image.MODES))
def test_every_mode_pillow_knows_becomes_eight_bits(mode):
    picture = in_mode(mode)
    pixels = np.asarray(to_eight_bits(picture).convert("RGB"))
    np.testing.assert_allclose(pixels, expected(picture), atol=TOLERANCE.get(mode, 0))


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_near_its_photograph(mode, progressive):
    picture = in_mode(mode)
    body = saved(picture, "JPEG", quality=95, subsampling=0, progressive=progressive)
    assert np.abs(hwc(body) - expected(picture)).mean() < 3


def test_an_adobe_cmyk_jpeg_is_not_a_negative():
    body = saved(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")
    assert b"Adobe" in body
    assert decode(body).min() == 255


@pytest.mark.parametrize("name", ["rocket.jpg", "coffee.png", "astronaut.png"])
def test_photographs_from_the_wild_are_as_scikit_image_reads_them(name):
    reference = getattr(skimage.data, Path(name).stem)()
    np.testing.assert_array_equal(decode(shipped(name)).transpose(1, 2, 0), reference)


@pytest.mark.parametrize(
    "compression", [None, "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "zstd"]
)
def test_compressed_tiffs_give_their_pixels_back(compression):
    body = saved(photo(), "TIFF", compression=compression)
    np.testing.assert_array_equal(hwc(body), np.asarray(photo()))


@pytest.mark.parametrize(("kind", "mode"), ALL_FILES)
def test_one_channel_is_the_luma_of_three(kind, mode):
    red, green, blue = decode(tiny(kind, mode)).astype(float)
    luma = decode(tiny(kind, mode), channels=1)
    assert luma.shape == (1, *red.shape)
    assert luma.transpose(1, 2, 0).flags.c_contiguous
    assert luma.flags.writeable
    np.testing.assert_allclose(luma[0], 0.299 * red + 0.587 * green + 0.114 * blue, atol=1.1)


def test_tiffs_of_either_byte_order_and_big_ones_are_read():
    for order in "<>":
        body = tiff(bytes([1, 2, 3, 4]), order, width=2, height=2, strip_at=8)
        assert decode(body, channels=1).tolist() == [[[1, 2], [3, 4]]]
    np.testing.assert_array_equal(hwc(saved(photo(), "TIFF", big_tiff=True)), np.asarray(photo()))


def test_a_tiff_compressed_as_jpeg_is_near_its_photograph():
    body = saved(photo(), "TIFF", compression="jpeg", quality=95)
    assert np.abs(hwc(body) - np.asarray(photo())).mean() < 5


def test_wide_integers_span_their_own_range():
    values = np.array([[-1000, 0, 99_000]], np.int32)
    assert decode(saved(Image.fromarray(values), "TIFF"), channels=1).tolist() == [[[0, 3, 255]]]
    signed = np.array([[-1, 256]], np.int32)
    assert decode(saved(Image.fromarray(signed), "TIFF"), channels=1).tolist() == [[[0, 255]]]
    flat = np.full((2, 2), 70_000, np.int32)
    assert decode(saved(Image.fromarray(flat), "TIFF")).max() == 0
    extremes = np.array([[-(2**31), 2**31 - 1]], np.int32)
    assert decode(saved(Image.fromarray(extremes), "TIFF"), channels=1).tolist() == [[[0, 255]]]


def test_wide_integers_that_fit_sixteen_bits_are_taken_as_those():
    values = np.array([[1000, 65535]], np.int32)
    assert decode(saved(Image.fromarray(values), "TIFF"), channels=1).tolist() == [[[4, 255]]]


def test_sixteen_bits_are_scaled_and_rounded_not_clipped():
    values = np.array([[0, 128, 129, 256, 32768, 65535]], np.uint16)
    assert decode(saved(Image.fromarray(values), "PNG"), channels=1).tolist() == [[[0, 0, 1, 1, 128, 255]]]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 0.5, np.nan], [0, 128, 0]),
        ([-3.0, 127.6, 300.0], [0, 128, 255]),
        ([-0.5, 0.6, 1.0], [0, 1, 1]),
        ([-np.inf, np.nan, np.inf], [0, 0, 255]),
    ],
)
def test_floats_are_a_unit_range_or_clipped_bytes(values, levels):
    picture = Image.fromarray(np.array([values], np.float32))
    assert decode(saved(picture, "TIFF"), channels=1).tolist() == [[levels]]


# What is clear is white


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_clear_palette_entry_is_white(kind):
    picture = in_mode("P")
    clear = int(np.asarray(picture)[5, 5])
    pixels = hwc(saved(picture, kind, transparency=clear))
    is_clear = np.asarray(picture) == clear
    assert (pixels[is_clear] == 255).all()
    np.testing.assert_array_equal(pixels[~is_clear], expected(picture)[~is_clear])


def test_a_palette_with_an_alpha_for_each_entry_fades_to_white():
    picture = in_mode("P")
    alphas = np.arange(64) * 4
    pixels = hwc(saved(picture, "PNG", transparency=bytes(alphas.tolist())))
    alpha = alphas[np.asarray(picture)][..., None] / 255
    np.testing.assert_allclose(pixels, expected(picture) * alpha + 255 * (1 - alpha), atol=1)


@pytest.mark.parametrize(("mode", "clear"), [("1", 0), ("L", 77), ("RGB", (9, 8, 7)), ("I;16", 0x1234)])
def test_a_clear_colour_is_white(mode, clear):
    picture = in_mode(mode)
    picture.putpixel((3, 2), clear)
    pixels = decode(saved(picture, "PNG", transparency=255 * 0 if mode == "1" else clear))
    assert pixels[:, 2, 3].tolist() == [255, 255, 255]
    if mode != "1":
        assert pixels.min() < 128


def test_a_bitmap_with_an_alpha_mask_fades_to_white():
    header = struct.pack("<LllHHLLllLL", 108, 2, 1, 1, 32, 3, 8, 0, 0, 0, 0)
    header += struct.pack("<4L", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    body = struct.pack("<2sLLL", b"BM", 130, 0, 122) + header + bytes([10, 20, 30, 255, 10, 20, 30, 0])
    assert decode(body)[:, 0].T.tolist() == [[30, 20, 10], [255, 255, 255]]


# Frames and pages


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
@pytest.mark.parametrize("disposal", [0, 2])
def test_only_the_first_frame_counts(kind, disposal):
    first, second = in_mode("P").convert("RGB"), Image.new("RGB", (96, 64), "red")
    options: dict[str, Any] = {"disposal": disposal} if kind in ("GIF", "PNG") else {}
    body = lossless(first, kind, save_all=True, append_images=[second, first], **options)
    np.testing.assert_array_equal(hwc(body), np.asarray(first))


# EXIF

STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # the standard's row and column of a camera
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_turned_picture_comes_out_upright(kind, orientation):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(photo()))))
    tag: dict[str, Any] = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif(orientation)}
    np.testing.assert_array_equal(hwc(lossless(stored, kind, **tag)), np.asarray(photo()))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_turned_jpeg_comes_out_upright(mode, orientation):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(photo()))))
    body = saved(stored.convert(mode), "JPEG", quality=95, subsampling=0, exif=exif(orientation))
    assert np.abs(hwc(body) - expected(photo().convert(mode))).mean() < 3


CORRUPT_EXIF = {
    "no TIFF inside": b"Exif\0\0this is no TIFF directory",
    "empty": b"Exif\0\0",
    "cut in its header": exif(6)[:11],
    "cut in its directory": exif(6)[:-12],
    "directory beyond the end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "orientation 9": exif(9),
    "orientation 0": exif(0),
    "orientation is text": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\2\0\0\0x\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("block", CORRUPT_EXIF.values(), ids=CORRUPT_EXIF)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_corrupt_exif_leaves_the_picture_as_stored(kind, block):
    np.testing.assert_array_equal(
        decode(lossless(photo(), kind, exif=block)), decode(lossless(photo(), kind))
    )


# Limits


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))


def tiff(content: bytes, order: str = "<", **tags: int) -> bytes:
    """A grey TIFF made by hand: `content` at byte 8, then its directory."""
    numbers = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262}
    numbers |= {"strip_at": 273, "tile_width": 322, "tile_height": 323, "tile_at": 324}
    numbers |= {"tile_bytes": 325}
    tags = {"bits": 8, "compression": 1, "photometric": 1, **tags}
    # A number of two bytes (SHORT) stands in the first two of its four.
    entries = [
        struct.pack(order + "HHL", numbers[name], 4 if value > 65535 else 3, 1)
        + struct.pack(order + ("L" if value > 65535 else "Hxx"), value)
        for name, value in sorted(tags.items(), key=lambda tag: numbers[tag[0]])
    ]
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return start + struct.pack(order + "L", 8 + len(content)) + content + directory


def huge(kind: str, side: int = 50_000) -> bytes:
    """A small file whose header claims side×side pixels."""
    if kind == "PNG":
        header = struct.pack(">LLBBBBB", side, side, 8, 6, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999)))
    if kind == "TIFF":
        return tiff(bytes(99), width=side, height=side, strip_at=8)
    body = saved(photo(), kind)
    at, claim = {
        "JPEG": (body.find(b"\xff\xc0") + 5, struct.pack(">HH", side, side)),
        "GIF": (6, struct.pack("<HH", side, side)),
        "BMP": (18, struct.pack("<LL", side, side)),
    }[kind]
    return body[:at] + claim + body[at + len(claim) :]


def test_the_refusal_of_a_large_picture_names_its_size_and_the_limit():
    body = saved(Image.new("1", (6000, 5000)), "PNG")
    sentence = "image is 6000×5000 pixels (30.0 megapixels); the limit is 25.0 megapixels"
    with pytest.raises(TooLarge, match=f"^{sentence.replace('(', '.').replace(')', '.')}$"):
        decode_image(body, max_pixels=25_000_000)
    with pytest.raises(TooLarge, match="limit is 6143 pixels"):
        decode_image(tiny_photo := saved(photo(), "PNG"), max_pixels=96 * 64 - 1)
    assert decode_image(tiny_photo, max_pixels=96 * 64).shape == (3, 64, 96)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF"])
def test_a_huge_picture_is_refused_by_its_header_at_no_cost(kind):
    body = huge(kind)
    memory_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.thread_time()  # not the clock: other tests may hold the cores
    with pytest.raises(
        TooLarge, match=r"image is 50000×50000 pixels \(2500.0 megapixels\); the limit is 25.0"
    ):
        decode_image(body, max_pixels=25_000_000)
    assert time.thread_time() - started < 0.05
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kib < 8 * 1024


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_what_pillow_itself_refuses_is_too_large_as_well(kind):
    if kind == "GIF":  # the screen is small, its one frame is not, and is to be wiped afterwards
        frame = b"!\xf9\x04\x08\0\0\0\0,\0\0\0\0" + struct.pack("<HH", 50_000, 50_000) + b"\0\x08"
        body = b"GIF89a" + struct.pack("<HH", 1, 1) + bytes(3) + frame
    else:
        canvas = b"VP8X" + struct.pack("<L", 10) + bytes(4) + b"\x7f\x3e\0\x7f\x3e\0"
        body = b"RIFF" + struct.pack("<L", len(canvas) + 4) + b"WEBP" + canvas
    with pytest.raises(TooLarge, match=r"^image is over the limit of 25.0 megapixels$"):
        decode_image(body, max_pixels=25_000_000)


@pytest.mark.parametrize(
    ("width", "height", "side"), [(16, 16, 8_192), (16, 70_000, 4_096), (70_000, 16, 4_096)]
)
def test_a_small_tiff_in_tiles_that_unpack_to_gigabytes_is_refused(width, height, side):
    content = zlib.compress(bytes(side * side))
    tags = {"tile_width": side, "tile_height": side, "tile_at": 8, "tile_bytes": len(content)}
    body = tiff(content, width=width, height=height, compression=8, **tags)
    with pytest.raises(TooLarge, match=f"tiles of {side}×{side} pixels; the limit is 50.0 megapixels"):
        decode_image(body, max_pixels=25_000_000)


def test_a_tiff_in_tiles_larger_than_itself_is_read():
    content = bytes([200]) * 32 * 32
    body = tiff(content, width=20, height=10, tile_width=32, tile_height=32, tile_at=8, tile_bytes=1024)
    assert decode(body).shape == (3, 10, 20)
    assert decode(body).min() == 200


def test_a_small_jpeg_that_goes_over_its_picture_for_hours_is_refused():
    body = saved(photo(), "JPEG", progressive=True)
    scan = body[body.rindex(b"\xff\xda") : -2]
    assert decode(body[:-2] + scan[:10] * 90 + body[-2:]).shape == (3, 64, 96)
    with pytest.raises(TooLarge, match="JPEG of more than 100 scans"):
        decode(body[:-2] + scan[:10] * 101 + body[-2:])


def test_what_follows_a_jpeg_or_hides_in_its_metadata_is_no_scan():
    body = saved(photo(), "JPEG", comment=b"\xff\xda" * 200)
    np.testing.assert_array_equal(
        decode(body + b"\0\0" + b"\xff\xda\0\0" * 200), decode(saved(photo(), "JPEG"))
    )


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4"])
def test_a_fax_is_refused_since_its_damage_would_flood_the_log(compression):
    with pytest.raises(UndecodablePicture, match=f"^TIFF compression {compression} is not served; save with"):
        decode(saved(in_mode("1"), "TIFF", compression=compression))


# What is no picture


def test_an_empty_body_is_said_to_be_empty():
    with pytest.raises(UndecodablePicture, match=r"^the picture is empty \(0 bytes\)$"):
        decode(b"")


@pytest.mark.parametrize("kind", ["PDF", "ICO", "EPS", "PPM", "TGA", "JPEG2000", "PCX"])
def test_other_formats_are_not_served_even_where_pillow_reads_them(kind):
    with pytest.raises(UndecodablePicture, match=r"^not a JPEG, PNG, WebP, GIF, BMP or TIFF picture$"):
        decode(saved(photo(), kind))


@pytest.mark.parametrize(
    "body", [b"hello", b"BMW is not a bitmap, nor is it short", b"\0" * 999, b"RIFF", b"\xff"]
)
def test_what_is_no_picture_is_told_what_would_be(body):
    with pytest.raises(UndecodablePicture, match=r"^not a JPEG, PNG, WebP, GIF, BMP or TIFF picture$"):
        decode(body)


@pytest.mark.parametrize("part", [0.06, 0.5, 0.9])
@pytest.mark.parametrize(("kind", "mode"), ONE_OF_EACH)
def test_a_file_cut_short_is_undecodable(kind, mode, part):
    body = saved(photo(), kind)
    with pytest.raises(
        UndecodablePicture, match=f"^the {OFFICIAL_NAMES[kind]} picture is damaged or cut short"
    ):
        decode(body[: int(len(body) * part)])


def test_a_variant_nobody_reads_is_not_called_damaged_only():
    with pytest.raises(UndecodablePicture, match=r"or of a variant not served$"):
        decode(tiff(bytes(64), width=1, height=1, bits=64, strip_at=8))


THROWN = (
    *(OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError, IndexError, KeyError),
    *(TypeError, OverflowError, MemoryError, AttributeError, RecursionError, SystemError),
)


@pytest.mark.parametrize("thrown", THROWN)
def test_whatever_a_decoder_throws_is_undecodable_and_the_reason_is_only_in_the_log(
    thrown, monkeypatch, caplog
):
    def burst(*_: object) -> None:
        raise thrown("<object at 0x7f00> in /a/path")

    body = saved(photo(), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_prepare", burst)
    with caplog.at_level(logging.DEBUG, "service.images"), pytest.raises(UndecodablePicture) as refused:
        decode(body)
    assert refused.value.detail == "the PNG picture is damaged or cut short"
    assert "0x7f00" in caplog.text


@settings(max_examples=1000, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    file=st.sampled_from(ALL_FILES),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
    channels=st.sampled_from([1, 3]),
)
def test_flipped_and_cut_bytes_give_a_picture_or_a_refusal(file, flips, kept, channels):
    body = bytearray(tiny(*file))
    for place, value in flips:
        body[int(place * len(body))] = value
    said = ""
    try:
        pixels = decode_image(bytes(body[: int(kept * len(body))]), max_pixels=100_000, channels=channels)
        assert pixels.dtype == np.uint8
        assert pixels.shape[0] == channels
        assert 0 < pixels[0].size <= 100_000
    except ServiceError as refusal:
        said = refusal.detail
    assert "0x" not in said
    assert "/" not in said


# Threads and types


def test_many_threads_decode_as_one_does():
    bodies = [tiny(kind, mode) for kind, mode in ALL_FILES] * 8
    with ThreadPoolExecutor(8) as threads:
        for one, many in zip(map(decode, bodies), threads.map(decode, bodies), strict=True):
            np.testing.assert_array_equal(one, many)


LET_THROUGH = (
    *(None, "", "application/octet-stream", "image/*", "IMAGE/JPEG", *PICTURE_TYPES),
    *("image/jpg", "image/pjpeg", "image/x-png", "image/x-bmp", "image/x-ms-bmp", "image/tif"),
    *("image/png;charset=utf-8", " image/gif ; q=1"),
)


@pytest.mark.parametrize("content_type", LET_THROUGH)
def test_a_picture_type_or_none_is_let_through(content_type):
    check_picture_type(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        "image/svg+xml",
        "image/avif",
        "image/heic",
        "text/plain; charset=utf-8",
        "application/json",
        "image",
        "imagex",
    ],
)
def test_another_type_is_refused_by_name(content_type):
    with pytest.raises(UnsupportedType) as refused:
        check_picture_type(content_type)
    assert f"media type {content_type.partition(';')[0]} is not served" in refused.value.detail
    assert "JPEG, PNG, WebP, GIF, BMP or TIFF" in refused.value.detail
