"""JPEGs are scaled while they are decoded: what the models answer then, against the full decoding."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from service.errors import TooLarge
from service.images import DETAIL, cut_square, decode_image, to_array
from service.model import load_model, load_models
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
        scale = np.exp(generator.uniform(np.log(300), np.log(1600))) / min(piece.size)
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
        for data in cut_photos(400)
    ]
    scaled = [(whole, square) for whole, square in photos if whole.shape != square.shape]
    assert len(scaled) >= 280, "too few photos were scaled to tell"
    for model in load_models(MODELS).values():
        whole, square = (model.classify([model.prepare(pair[side]) for pair in scaled]) for side in (0, 1))
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


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_turned_photo_of_any_mode_is_cut_upright(mode: str) -> None:
    picture = photo("chelsea").resize((1111, 777)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright
    stored = jpeg(picture.transpose(Image.Transpose.ROTATE_90), exif=exif)
    for channels in (1, 3):
        expected = decode_image(jpeg(picture), max_pixels=MANY, channels=channels, square=S).astype(int)
        turned = decode_image(stored, max_pixels=MANY, channels=channels, square=S).astype(int)
        assert turned.shape == expected.shape == (channels, S, S)
        assert np.abs(turned - expected).mean() < 2


def test_only_jpegs_with_pixels_to_spare_are_scaled() -> None:
    picture = photo("coffee")
    enough = picture.resize((2 * DETAIL * S + 50, 2 * DETAIL * S))
    assert decode_image(jpeg(enough), max_pixels=MANY, square=S).shape == (3, S, S)
    scarce = picture.resize((2 * DETAIL * S + 50, 2 * DETAIL * S - 1))
    assert decode_image(jpeg(scarce), max_pixels=MANY, square=S).shape == (3, *scarce.size[::-1])
    file = io.BytesIO()
    enough.save(file, "PNG")
    assert decode_image(file.getvalue(), max_pixels=MANY, square=S).shape == (3, *enough.size[::-1])


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
