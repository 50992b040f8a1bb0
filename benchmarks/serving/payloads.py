"""The pictures that are sent, drawn by code, and the bodies they travel in."""

import base64
import io
import json
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

BOUNDARY = "stride-benchmark-boundary"
PHOTO_BYTES = 121_000


@dataclass(frozen=True)
class Picture:
    """A picture's file."""

    name: str
    data: bytes
    media_type: str

    def describe(self) -> str:
        """Say what it is, for the table's foot."""
        with Image.open(io.BytesIO(self.data)) as image:
            return f"{image.width}×{image.height} {image.format}, {len(self.data) / 1000:,.1f} kB"


@dataclass(frozen=True)
class Body:
    """What is posted."""

    data: bytes
    content_type: str


@cache
def small_png() -> Picture:
    """Draw the size a model of 32×32 takes, with noise enough that it does not compress away."""
    rows, columns = np.mgrid[0:32, 0:32]
    shades = np.stack([4 * rows + 60, 3 * columns + 90, 200 - 2 * (rows + columns)], axis=2)
    noise = np.random.default_rng(0).integers(-20, 21, shades.shape)
    return Picture("small", encode(Image.fromarray((shades + noise).astype(np.uint8)), "PNG"), "image/png")


@cache
def photo() -> Picture:
    """Enlarge a photograph of scikit-image to 1200×900, as a JPEG of about 121 kB."""
    from skimage import data  # noqa: PLC0415  (slow, and only needed here)

    image = Image.fromarray(data.coffee()).resize((1200, 900), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 4, (900, 1200, 1))
    image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    sizes = {quality: encode(image, "JPEG", quality=quality) for quality in range(40, 96, 3)}
    return Picture("photo", min(sizes.values(), key=lambda file: abs(len(file) - PHOTO_BYTES)), "image/jpeg")


@cache
def large_photo() -> Picture:
    """Enlarge a photograph to 12 megapixels, 4000×3000, with the grain of a camera: 3 to 5 MB of JPEG."""
    from skimage import data  # noqa: PLC0415

    image = Image.fromarray(data.coffee()).resize((4000, 3000), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 6, (3000, 4000, 1))
    image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    return Picture("large", encode(image, "JPEG", quality=88), "image/jpeg")


def encode(image: Image.Image, kind: str, **options: int) -> bytes:
    """Write an image as a file in memory."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def multipart(picture: Picture, field: str = "file") -> Body:
    """Put a picture into a form, as `curl -F file=@…` does."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{picture.name}"\r\n'
        f"Content-Type: {picture.media_type}\r\n\r\n"
    )
    data = head.encode() + picture.data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Body(data, f"multipart/form-data; boundary={BOUNDARY}")


def multipart_data(picture: Picture) -> Body:
    """Name the form's field `data`, as TorchServe's documentation does."""
    return multipart(picture, "data")


def raw(picture: Picture) -> Body:
    """Send the picture itself as the body."""
    return Body(picture.data, picture.media_type)


def open_inference(picture: Picture) -> Body:
    """Put a picture into the Open Inference Protocol's JSON, as base64: MLServer's way for files."""
    entry = {
        "name": "file",
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(picture.data).decode()],
    }
    return Body(json.dumps({"inputs": [entry]}).encode(), "application/json")
