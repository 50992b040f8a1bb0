"""What is sent: a request a case, the same every time, drawn by code."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image

from benchmarks.serving.payloads import (
    BOUNDARY,
    Body,
    Picture,
    encode,
    large_photo,
    multipart,
    photo,
    raw,
    small_png,
)

JSON, NPY = "application/json", "application/x-npy"
PICTURES_A_BATCH = 16
MODELS = ("cifar10-lenet", "cifar10-resnet")  # those that come with the repository: measured.json has them


class Unknown(Exception):
    """A name that there is not, or a figure; the sentence says which there are, or how to get it."""


@dataclass(frozen=True)
class Case:
    """A kind of request: `path` may want a model's name in it, `pictures` is how many it classifies."""

    name: str
    label: str
    path: str
    body: Callable[[], Body]
    pictures: int = 1
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def has_model(self) -> bool:
        return "{model}" in self.path

    def path_for(self, model: str) -> str:
        return self.path.format(model=model)


def batch() -> Body:
    """Put sixteen small pictures into one form."""
    picture = small_png()
    part = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="small"\r\n'
        f"Content-Type: {picture.media_type}\r\n\r\n"
    ).encode()
    data = (part + picture.data + b"\r\n") * PICTURES_A_BATCH + f"--{BOUNDARY}--\r\n".encode()
    return Body(data, f"multipart/form-data; boundary={BOUNDARY}")


@cache
def web_photo() -> Picture:
    """Scale the photograph to 640×480, as pages show it: about 40 kB."""
    with Image.open(io.BytesIO(photo().data)) as image:
        smaller = image.resize((640, 480), Image.Resampling.BICUBIC)
    return Picture("web", encode(smaller, "JPEG", quality=85), "image/jpeg")


def small_matrix() -> Body:
    """Write the example every lesson starts with: 6×6, an edge in the middle."""
    image = [[10, 10, 10, 0, 0, 0]] * 6
    return Body(json.dumps({"image": image, "filter": "vertical-edge"}).encode(), JSON)


def large_matrix() -> Body:
    """Write 1000×1000 whole numbers, 0 to 255, as JSON: 3.6 MB."""
    image = np.random.default_rng(0).integers(0, 256, (1000, 1000)).tolist()
    return Body(json.dumps({"image": image, "filter": "sobel-x"}).encode(), JSON)


def large_array() -> Body:
    """Write 1000×1000 doubles as `.npy`: 8 MB."""
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).random((1000, 1000)))
    return Body(file.getvalue(), NPY)


def tensor_header(**more: object) -> dict[str, object]:
    return {"name": "images", "shape": [1, 3, 32, 32], "datatype": "UINT8", **more}


def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(small_png().data)) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def tensor_json() -> Body:
    """Write one picture's pixels as the Open Inference Protocol's JSON."""
    return Body(json.dumps({"inputs": [tensor_header(data=pixels().ravel().tolist())]}).encode(), JSON)


def binary_head() -> bytes:
    size = {"binary_data_size": pixels().size}
    return json.dumps(
        {"inputs": [tensor_header(parameters=size)], "parameters": {"binary_data_output": True}}
    ).encode()


def tensor_binary() -> Body:
    """Write one picture's pixels as the protocol's binary tensor, as tritonclient sends it."""
    return Body(binary_head() + pixels().tobytes(), "application/octet-stream")


PREDICT, INFER = "/predict?model={model}", "/v2/models/{model}/infer"
CASES = (
    Case("small", "`/predict`, PNG 32×32, raw", PREDICT, lambda: raw(small_png())),
    Case("web", "`/predict`, JPEG 640×480, form", PREDICT, lambda: multipart(web_photo())),
    Case("photo", "`/predict`, JPEG 1200×900, form", PREDICT, lambda: multipart(photo())),
    Case("large", "`/predict`, JPEG 4000×3000, form", PREDICT, lambda: multipart(large_photo())),
    Case("batch", "`/predict/batch`, 16 PNG 32×32", "/predict/batch?model={model}", batch, PICTURES_A_BATCH),
    Case("tensor-json", "`/v2` infer, JSON, 1 picture", INFER, tensor_json),
    Case(
        "tensor-binary",
        "`/v2` infer, binary, 1 picture",
        INFER,
        tensor_binary,
        headers={"Inference-Header-Content-Length": str(len(binary_head()))},
    ),
    Case("matrix", "`/convolve`, JSON, 6×6", "/convolve", small_matrix),
    Case("large-matrix", "`/convolve`, JSON, 1000×1000", "/convolve", large_matrix),
    Case(
        "large-array",
        "`/convolve`, `.npy`, 1000×1000",
        "/convolve?filter=sobel-x",
        large_array,
        headers={"Accept": NPY},
    ),
)


def find(name: str) -> Case:
    """Find a case. Raises Unknown with the names there are."""
    for case in CASES:
        if case.name == name:
            return case
    raise Unknown(f"no payload {name!r}; there are {', '.join(case.name for case in CASES)}")


def check_model(name: str) -> str:
    """Give a committed model's name back. Raises Unknown with the names there are."""
    if name not in MODELS:
        raise Unknown(f"no figures of a model {name!r}; there are those of {', '.join(MODELS)}")
    return name
