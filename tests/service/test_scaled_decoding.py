"""JPEGs are scaled while they are decoded: what the models answer then, against the full decoding."""

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from service.errors import TooLarge, UndecodablePicture
from service.images import LARGE, cut_square, decode_image, to_array
from service.model import load_model, load_models
from service.scaling import DETAIL
from service.serving import Served
from service.workers import Workers
from tests.artefacts import write_artefact

MODELS = Path(__file__).parents[2] / "models"
PHOTOS = ("astronaut", "camera", "chelsea", "coffee", "rocket", "hubble_deep_field", "motorcycle")
MANY = 10**9
S = 32


def photo(name: str) -> Image.Image:
    """Give one of scikit-image's photographs; of the stereo pair the left one."""
    pixels = skimage.data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(skimage.data, name)()
    return Image.fromarray(pixels).convert("RGB")


def cut_photos(count: int, seed: int = 0) -> Iterator[bytes]:
    """Make photos: pieces of scikit-image's, resized as cameras and web sites have them, as JPEG."""
    generator = np.random.default_rng(seed)
    originals = [photo(name) for name in PHOTOS]
    for number in range(count):
        original = originals[number % len(originals)]
        share = generator.uniform(0.6, 1, 2)
        width, height = (max(64, int(side * part)) for side, part in zip(original.size, share, strict=True))
        left, top = (
            generator.integers(0, whole - side + 1)
            for whole, side in zip(original.size, (width, height), strict=True)
        )
        piece = original.crop((left, top, left + width, top + height))
        scale = np.exp(generator.uniform(np.log(460), np.log(1000))) / min(piece.size)
        size = tuple(max(S, round(side * scale)) for side in piece.size)
        file = io.BytesIO()
        piece.resize(size, Image.Resampling.BICUBIC).save(
            file,
            "JPEG",
            quality=int(generator.integers(60, 96)),
            subsampling=int(generator.integers(0, 3)),
            progressive=bool(generator.random() < 0.2),
        )
        yield file.getvalue()


def test_the_models_answer_as_for_the_full_decoding() -> None:
    photos = [
        (decode_image(data, max_pixels=MANY), decode_image(data, max_pixels=MANY, square=S))
        for data in cut_photos(600)
    ]
    assert all(square.shape == (3, S, S) != whole.shape for whole, square in photos)
    for model in load_models(MODELS).values():
        inputs = [[model.prepare(pair[side]) for pair in photos] for side in (0, 1)]
        assert np.abs(np.subtract(*inputs, dtype=int)).mean() < 0.2, "levels of 255"
        whole, square = map(model.classify, inputs)
        assert (whole.argmax(1) == square.argmax(1)).mean() >= 0.99, model.name
        assert np.abs(whole - square).mean() <= 0.01, model.name


def jpeg(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def test_the_square_is_the_one_that_prepare_cuts() -> None:
    """Without scaling by the decoder, both resize the same pixels, but for rounding."""
    model = load_models(MODELS)["cifar10-lenet"]
    for size in ((300, 200), (123, 457), (32, 33)):
        picture = photo("coffee").resize(size)
        square = to_array(cut_square(picture, size, S))
        np.testing.assert_allclose(square, model.prepare(to_array(picture)), atol=1)


def test_a_large_square_is_as_pillow_resizes_it() -> None:
    picture = photo("coffee").resize((1000, 700))
    square = picture.crop((150, 0, 850, 700)).resize((100, 100), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(to_array(cut_square(picture, picture.size, 100)), to_array(square), atol=1)


TURNED = {  # EXIF orientation -> how a picture lies in the file
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", TURNED)
def test_a_turned_photo_of_any_mode_is_cut_upright(mode: str, orientation: int) -> None:
    picture = photo("chelsea").resize((1111, 777)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = TURNED[orientation]
    stored = jpeg(picture if turn is None else picture.transpose(turn), exif=exif)
    left = (picture.width - picture.height) // 2
    square = picture.convert("RGB").crop((left, 0, left + picture.height, picture.height))
    for channels, shown in ((1, "L"), (3, "RGB")):
        expected = to_array(square.convert(shown).resize((S, S), Image.Resampling.BILINEAR))
        turned = decode_image(stored, max_pixels=MANY, channels=channels, square=S)
        assert turned.shape == (channels, S, S)
        assert np.abs(np.subtract(turned, expected, dtype=int)).mean() < 2


def test_only_jpegs_with_pixels_to_spare_are_scaled() -> None:
    picture, least = photo("coffee"), int(2 * DETAIL * S)
    enough = picture.resize((least + 50, least))
    assert decode_image(jpeg(enough), max_pixels=MANY, square=S).shape == (3, S, S)
    scarce = picture.resize((least + 50, least - 1))
    whole = decode_image(jpeg(scarce), max_pixels=MANY, square=S)
    np.testing.assert_array_equal(whole, decode_image(jpeg(scarce), max_pixels=MANY))
    assert whole.shape == (3, *scarce.size[::-1])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_are_decoded_whole_and_upright(kind: str) -> None:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    photo("coffee").save(file, kind, exif=exif)
    whole = decode_image(file.getvalue(), max_pixels=MANY)
    np.testing.assert_array_equal(decode_image(file.getvalue(), max_pixels=MANY, square=S), whole)
    assert whole.shape == ((3, 400, 600) if kind in ("GIF", "BMP") else (3, 600, 400))  # those hold no EXIF


def test_the_pixels_of_a_very_large_picture_come_out_in_order() -> None:
    picture = photo("coffee").resize((2011, 1501))
    assert LARGE < 3 * 2011 * 1501
    for mode in ("RGB", "L"):
        pixels = to_array(turned := picture.convert(mode))
        np.testing.assert_array_equal(pixels.transpose(1, 2, 0).squeeze(), np.asarray(turned))
        assert pixels.flags.writeable


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_large_photo_cut_short_is_undecodable(share: float) -> None:
    data = jpeg(photo("coffee").resize((1200, 900)))
    with pytest.raises(UndecodablePicture, match=r"^the JPEG picture is damaged or cut short$"):
        decode_image(data[: int(share * len(data))], max_pixels=MANY, square=S)


def test_without_a_square_every_pixel_is_decoded() -> None:
    with Image.open(io.BytesIO(data := jpeg(photo("coffee").resize((1200, 900))))) as picture:
        np.testing.assert_array_equal(decode_image(data, max_pixels=MANY), to_array(picture))


PEAK = """
import re, sys
from pathlib import Path
from service.images import decode_image

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

small, large = (Path(name).read_bytes() for name in sys.argv[1:])
decode_image(small, max_pixels=10**9, square=32)
before = peak()
decode_image(large, max_pixels=10**9, square=32)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells the peak of a process")
def test_a_photo_of_twelve_megapixels_never_lies_whole_in_memory(tmp_path: Path) -> None:
    for name, size in (("small.jpg", (1200, 900)), ("large.jpg", (4000, 3000))):
        (tmp_path / name).write_bytes(jpeg(photo("coffee").resize(size)))
    command = [sys.executable, "-c", PEAK, tmp_path / "small.jpg", tmp_path / "large.jpg"]
    done = subprocess.run(command, cwd=MODELS.parent, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8 * 1024, "KiB; all of its pixels take 36 MB"


def test_the_limit_counts_the_pixels_that_are_stored() -> None:
    data = jpeg(Image.new("RGB", (1000, 1000)))
    with pytest.raises(TooLarge, match="1000×1000"):
        decode_image(data, max_pixels=999_999, square=S)


def test_a_model_that_prepares_otherwise_sees_the_whole_picture(tmp_path: Path) -> None:
    workers = Workers(1, 1)
    settings = {"max_pixels": MANY, "batch_size": 1, "queue_length": 1}
    stretching = Served(load_model(write_artefact(tmp_path / "light.pt")), workers, **settings)
    assert stretching.square is None
    cutting = Served(load_model(MODELS / "cifar10-lenet.pt"), workers, **settings)
    assert cutting.square == S
