"""The requests of the soak: all endpoints, good and bad, each with the answer that it must get."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image
from scipy.signal import correlate2d

from benchmarks.reliability import bad
from benchmarks.reliability.wire import Answer, request
from benchmarks.serving import answers
from benchmarks.serving.environments import REPOSITORY
from benchmarks.serving.payloads import BOUNDARY, Picture, encode, large_photo, multipart, photo, small_png

JSON = "application/json"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
LENET, RESNET = "cifar10-lenet", "cifar10-resnet"
TOLERANCE = 0.05  # of a probability: bfloat16, and photos decoded at a fraction of their size
Check = Callable[[Answer], None]


@dataclass(frozen=True)
class Ask:
    """A request, how often of all it is sent, and what its answer must be: `check` raises AssertionError."""

    name: str
    weight: float
    data: bytes
    status: int
    check: Check | None = None  # none: what a quiet server answers, to the byte
    is_bad: bool = False


@cache
def cat() -> Picture:
    return Picture("cat", (REPOSITORY / "docs" / "cat.jpg").read_bytes(), "image/jpeg")


@cache
def in_format(form: str) -> Picture:
    """The cat in another format."""
    image = Image.open(io.BytesIO(cat().data)).resize((120, 80))
    image = image.convert("P") if form == "GIF" else image
    return Picture(form, encode(image, form), f"image/{form.lower()}")


def catalogue() -> list[Ask]:
    """List all kinds of requests. The weights of the bad ones are a tenth of all."""
    good = [*predictions(), *matrices(), *insight(), *inference(), *operations()]
    share = sum(one.weight for one in good) / 9 / sum(weight for _, weight, _, _ in bad.KINDS)
    return good + [
        Ask(name, weight * share, data, status, problem(status), is_bad=True)
        for name, weight, data, status in bad.KINDS
    ]


def predictions() -> list[Ask]:
    asks = []
    for picture, weight in ((small_png(), 16), (photo(), 6), (cat(), 5), (large_photo(), 0.15)):
        for model in (LENET, RESNET):
            body, check = multipart(picture), predicted(model, picture)
            path = f"/predict?model={model}"
            form = request("POST", path, body.data, content_type=body.content_type)
            asks.append(Ask(f"predict {picture.name} {model}", weight / 2, form, 200, check))
    for form in ("PNG", "WEBP", "GIF", "BMP", "TIFF"):
        picture = in_format(form)
        data = request("POST", f"/predict?model={LENET}", picture.data, content_type=picture.media_type)
        asks.append(Ask(f"predict {form}", 1.5, data, 200, predicted(LENET, picture)))
    pictures = [small_png(), cat(), Picture("broken", small_png().data[:900], "image/png"), in_format("WEBP")]
    data = request("POST", f"/predict/batch?model={RESNET}", many(pictures), content_type=FORM)
    return [*asks, Ask("predict/batch", 4, data, 200, batch_check(pictures))]


def many(pictures: Sequence[Picture]) -> bytes:
    """A form of several pictures."""
    parts = [multipart(one, "files").data.rpartition(b"--" + BOUNDARY.encode())[0] for one in pictures]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def predicted(model: str, picture: Picture) -> Check:
    """Expect what the artefact itself says of the picture, run in this process."""
    label, probability = answers.expected(REPOSITORY / "models" / f"{model}.pt", picture)

    def check(answer: Answer) -> None:
        first = answer.json()["predictions"][0]
        close = abs(first["probability"] - probability) <= TOLERANCE
        assert first["label"] == label and close, (first, label, probability)  # noqa: PT018

    return check


def batch_check(pictures: Sequence[Picture]) -> Check:
    def check(answer: Answer) -> None:
        results = answer.json()["results"]
        assert [one["filename"] for one in results] == [one.name for one in pictures], results
        assert [("error" in one) for one in results] == [one.name == "broken" for one in pictures], results

    return check


def matrices() -> list[Ask]:
    random = np.random.default_rng(5)
    asks = []
    for side, weight in ((6, 9), (60, 4), (300, 0.6)):
        image, filters = random.integers(-9, 10, (side, side)), random.integers(-3, 4, (3, 3))
        body = json.dumps({"image": image.tolist(), "filter": filters.tolist()}).encode()
        data = request("POST", "/convolve", body, content_type=JSON)
        asks.append(
            Ask(f"convolve {side}×{side}", weight, data, 200, equals(correlate2d(image, filters, "valid")))
        )
    body = json.dumps({"image": image[:40, :40].tolist(), "size": 2}).encode()
    highest = image[:40, :40].reshape(20, 2, 20, 2).max((1, 3))
    asks.append(Ask("pool", 5, request("POST", "/pool", body, content_type=JSON), 200, equals(highest)))
    return [*asks, npy(random), *rendered()]


def npy(random: np.random.Generator) -> Ask:
    image = random.random((500, 500))
    file = io.BytesIO()
    np.save(file, image)
    path = "/convolve?filter=box-3&padding=same"
    kind = "application/x-npy"
    wanted = correlate2d(image, np.full((3, 3), 1 / 9), "same")

    def check(answer: Answer) -> None:
        np.testing.assert_allclose(np.load(io.BytesIO(answer.body)), wanted, atol=1e-12)

    return Ask(
        "convolve .npy", 2, request("POST", path, file.getvalue(), content_type=kind, accept=kind), 200, check
    )


def rendered() -> list[Ask]:
    """A filter on a picture: one that changes nothing, one whose answer must stay what it is."""
    picture = in_format("PNG")
    pixels = np.asarray(Image.open(io.BytesIO(picture.data)))[1:-1, 1:-1]  # 3×3, not padded

    def same(answer: Answer) -> None:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.body))), pixels)

    def form(name: str, of: Picture) -> bytes:
        field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="filter"\r\n\r\n{name}\r\n'
        return request("POST", "/convolve/image", field.encode() + multipart(of).data, content_type=FORM)

    return [
        Ask("convolve/image identity", 2, form("identity", picture), 200, same),
        Ask("convolve/image sobel-x", 0.5, form("sobel-x", cat()), 200),
    ]


def equals(wanted: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> Check:
    expected = wanted.tolist()

    def check(answer: Answer) -> None:
        assert answer.json()["output"] == expected

    return check


def insight() -> list[Ask]:
    """Layers and heat maps: what a quiet server answered, to the byte."""
    body = multipart(cat())
    paths = (
        (f"/layers?model={LENET}", 1.5),
        (f"/layers?model={RESNET}&maps=false", 0.3),
        (f"/layers/conv1?model={LENET}&channel=2&row=14&column=9", 1.5),
        (f"/explain?model={LENET}", 1),
        ("/explain?method=hires-cam&format=json", 0.5),
        (f"/explain?method=occlusion&model={LENET}", 0.3),
    )
    return [
        Ask(path, weight, request("POST", path, body.data, content_type=body.content_type), 200)
        for path, weight in paths
    ]


def inference() -> list[Ask]:
    """The Open Inference Protocol, in JSON and in bytes."""
    picture = small_png()
    pixels = np.asarray(Image.open(io.BytesIO(picture.data))).transpose(2, 0, 1)[None]
    label, probability = answers.expected(REPOSITORY / "models" / f"{LENET}.pt", picture)
    tensor = {"name": "images", "shape": list(pixels.shape), "datatype": "UINT8"}
    path = f"/v2/models/{LENET}/infer"
    as_json = json.dumps({"inputs": [tensor | {"data": pixels.ravel().tolist()}]}).encode()
    binary = {"inputs": [tensor | {"parameters": {"binary_data_size": pixels.nbytes}}]}
    header = json.dumps(binary | {"parameters": {"binary_data_output": True}}).encode()

    def in_json(answer: Answer) -> None:
        highest = max(answer.json()["outputs"][0]["data"])
        assert abs(highest - probability) <= TOLERANCE, (highest, label, probability)

    def in_bytes(answer: Answer) -> None:
        at = int(answer.headers["inference-header-content-length"])
        highest = np.frombuffer(answer.body[at:], np.float32).max()
        assert abs(highest - probability) <= TOLERANCE, (highest, label, probability)

    raw = {"content_type": "application/octet-stream", "inference_header_content_length": str(len(header))}
    return [
        Ask("v2 JSON", 4, request("POST", path, as_json, content_type=JSON), 200, in_json),
        Ask("v2 binary", 4, request("POST", path, header + pixels.tobytes(), **raw), 200, in_bytes),
    ]


def operations() -> list[Ask]:
    def metrics(answer: Answer) -> None:
        assert b"stride_requests_total{" in answer.body

    paths = {
        "/models": 2,
        f"/models/{RESNET}": 1,
        f"/models/{RESNET}/filters": 1,
        "/filters": 2,
        "/health/live": 4,
        "/health/ready": 4,
        "/v2": 1,
        "/v2/health/ready": 1,
        f"/v2/models/{LENET}": 1,
        "/": 0.5,
        "/docs": 0.2,
        "/openapi.json": 0.2,
    }
    known = [Ask(path, weight, request("GET", path), 200) for path, weight in paths.items()]
    return [*known, Ask("/metrics", 1, request("GET", "/metrics"), 200, metrics)]


def problem(status: int) -> Check:
    """Expect a problem that says what is wrong, and nothing of the inside."""

    def check(answer: Answer) -> None:
        body = answer.json()
        if "error" in body:
            assert len(body["error"]) > 10, body
        else:
            assert body["status"] == status, body
            assert len(body["detail"]) > 5, body
        assert b"Traceback" not in answer.body

    return check
