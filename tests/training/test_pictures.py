"""Decoding: a picture must look the same to training and to the service."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from service.images import decode_image
from training.pictures import read_picture

CHANCE = np.random.default_rng(0)
RGB = CHANCE.integers(0, 256, (20, 31, 3), dtype=np.uint8)
RGBA = CHANCE.integers(0, 256, (20, 31, 4), dtype=np.uint8)
GREY = RGB[..., 0]
DEEP = CHANCE.integers(0, 65536, (20, 31), dtype=np.uint16)
ORIENTATION = 0x0112


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def palette(**options: object) -> Image.Image:
    picture = Image.fromarray(RGB).quantize(16)
    picture.info.update(options)
    return picture


def save(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)
    return path


PICTURES: dict[str, Callable[[Path], Path]] = {
    "rgb.png": lambda path: save(Image.fromarray(RGB), path),
    "rgb.jpg": lambda path: save(Image.fromarray(RGB), path),
    "rgb.webp": lambda path: save(Image.fromarray(RGB), path),
    "rgb.bmp": lambda path: save(Image.fromarray(RGB), path),
    "rgb.tif": lambda path: save(Image.fromarray(RGB), path),
    "grey.png": lambda path: save(Image.fromarray(GREY), path),
    "grey.jpg": lambda path: save(Image.fromarray(GREY), path),
    "one bit.png": lambda path: save(Image.fromarray(GREY > 99), path),
    "grey, clear.png": lambda path: save(Image.fromarray(RGBA).convert("LA"), path),
    "one clear grey.png": lambda path: save(Image.fromarray(GREY), path, transparency=int(GREY[0, 0])),
    "one clear colour.png": lambda path: save(
        Image.fromarray(RGB), path, transparency=tuple(RGB[0, 0].tolist())
    ),
    "clear.png": lambda path: save(Image.fromarray(RGBA), path),
    "clear.webp": lambda path: save(Image.fromarray(RGBA), path, lossless=True),
    "clear.tif": lambda path: save(Image.fromarray(RGBA), path),
    "palette.png": lambda path: save(palette(), path),
    "palette, one clear.png": lambda path: save(palette(), path, transparency=3),
    "palette, many clear.png": lambda path: save(palette(), path, transparency=bytes(range(0, 160, 10))),
    "palette.gif": lambda path: save(palette(), path),
    "palette, one clear.gif": lambda path: save(palette(), path, transparency=3),
    "frames.gif": lambda path: save(
        palette(), path, save_all=True, append_images=[Image.new("P", (31, 20), 7)]
    ),
    "cmyk.jpg": lambda path: save(Image.fromarray(RGB).convert("CMYK"), path),
    "cmyk.tif": lambda path: save(Image.fromarray(RGB).convert("CMYK"), path),
    "lab.tif": lambda path: save(Image.frombytes("LAB", (31, 20), RGB.tobytes()), path),
    "deep grey.png": lambda path: save(Image.fromarray(DEEP), path),
    "deep grey.tif": lambda path: save(Image.fromarray(DEEP), path),
    "deep grey, one clear.png": lambda path: save(Image.fromarray(DEEP), path, transparency=int(DEEP[0, 0])),
    "deep grey, turned.png": lambda path: save(Image.fromarray(DEEP), path, exif=exif(6)),
    "exif cut short.jpg": lambda path: save(
        Image.fromarray(RGB), path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"
    ),
    "corrupt exif.png": lambda path: save(Image.fromarray(RGB), path, exif=b"Exif\0\0nonsense"),
    "corrupt exif.webp": lambda path: save(Image.fromarray(RGB), path, exif=b"Exif\0\0nonsense"),
    **{
        f"orientation {turn}.jpg": lambda path, turn=turn: save(Image.fromarray(RGB), path, exif=exif(turn))
        for turn in range(1, 10)
    },
    "clear, turned.png": lambda path: save(Image.fromarray(RGBA), path, exif=exif(8)),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", PICTURES)
def test_training_and_the_service_see_the_same_picture(tmp_path: Path, name: str) -> None:
    path = PICTURES[name](tmp_path / name)
    picture = read_picture(path)
    assert picture.dtype == torch.uint8
    assert picture.shape[0] == 3
    assert np.array_equal(picture.numpy(), decode_image(path.read_bytes(), max_pixels=10_000))


def test_a_picture_is_read_channels_first_in_rgb(tmp_path: Path) -> None:
    picture = read_picture(save(Image.fromarray(RGB), tmp_path / "a.png"))
    assert np.array_equal(picture.numpy(), RGB.transpose(2, 0, 1))


def test_a_phones_picture_stands_upright(tmp_path: Path) -> None:
    picture = read_picture(save(Image.fromarray(RGB), tmp_path / "a.png", exif=exif(6)))
    assert np.array_equal(picture.numpy().transpose(1, 2, 0), np.rot90(RGB, -1))


def test_grey_is_seen_as_three_equal_channels(tmp_path: Path) -> None:
    picture = read_picture(save(Image.fromarray(GREY), tmp_path / "a.png"))
    assert all(np.array_equal(channel, GREY) for channel in picture.numpy())


def test_what_is_clear_is_seen_on_white(tmp_path: Path) -> None:
    """Under clear parts many editors leave black, or what was erased."""
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 255, 51)  # clear, opaque and a fifth opaque black
    picture = read_picture(save(Image.fromarray(pixels), tmp_path / "a.png"))
    assert picture[:, 0].tolist() == [[255, 0, 204]] * 3


def test_sixteen_bit_greys_are_scaled_rather_than_clipped(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    picture = read_picture(save(Image.fromarray(deep), tmp_path / "a.png"))
    assert picture[:, 0].tolist() == [[0, 1, 128, 255]] * 3


def test_odd_files_are_read_without_a_warning(tmp_path: Path) -> None:
    path = PICTURES["palette, many clear.png"](tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_picture(path)
