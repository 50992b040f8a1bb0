"""Requests that no server should answer with 200: kind, weight, bytes, the status it must get."""

import json
import struct
import zlib

from benchmarks.reliability.wire import request
from benchmarks.serving.payloads import BOUNDARY, multipart, small_png

JSON = "application/json"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
PNG = small_png()


def bomb() -> bytes:
    """A PNG that says it is 50,000×50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def picture(data: bytes, query: str = "", kind: str = "image/png") -> bytes:
    return request("POST", f"/predict{query}", data, content_type=kind)


def convolution(**fields: object) -> bytes:
    return request("POST", "/convolve", json.dumps(fields).encode(), content_type=JSON)


SQUARE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
KINDS: tuple[tuple[str, float, bytes, int], ...] = (
    ("bad: half a PNG", 2, picture(PNG.data[:1000]), 400),
    ("bad: half a JPEG's head", 1, picture(b"\xff\xd8\xff\xe0\x00\x10JFIF", kind="image/jpeg"), 400),
    ("bad: noise as a picture", 1, picture(bytes(range(256)) * 40), 400),
    ("bad: no picture type", 1, picture(b"hello", kind="text/plain"), 415),
    ("bad: empty body", 1, picture(b""), 422),
    ("bad: 50,000×50,000 pixels", 2, picture(bomb()), 413),
    (
        "bad: 64 MB declared",
        1,
        request("POST", "/predict", content_type="image/png", content_length="67108864"),
        413,
    ),
    ("bad: unknown model", 2, picture(PNG.data, "?model=nope"), 404),
    ("bad: top_k of 99", 1, picture(PNG.data, "?top_k=99"), 422),
    ("bad: unknown query", 1, picture(PNG.data, "?tok_k=3"), 422),
    (
        "bad: another field",
        1,
        request("POST", "/predict", multipart(PNG, "picture").data, content_type=FORM),
        422,
    ),
    ("bad: half a form", 1, request("POST", "/predict", multipart(PNG).data[:700], content_type=FORM), 400),
    ("bad: ragged matrix", 1, convolution(image=[[1, 2], [3]], filter=[[1]]), 422),
    ("bad: filter too large", 1, convolution(image=[[1]], filter=SQUARE), 422),
    ("bad: padding of 10⁹", 1, convolution(image=SQUARE, filter=[[1]], padding=10**9), 422),
    (
        "bad: NaN",
        1,
        request("POST", "/convolve", b'{"image": [[NaN]], "filter": [[1]]}', content_type=JSON),
        422,
    ),
    ("bad: half of JSON", 1, request("POST", "/convolve", b'{"image": [[1, 2', content_type=JSON), 400),
    (
        "bad: half a .npy",
        1,
        request("POST", "/convolve?filter=box-3", b"\x93NUMPY\x01", content_type="application/x-npy"),
        400,
    ),
    (
        "bad: stride of 0",
        1,
        request("POST", "/pool", b'{"image": [[1]], "size": 1, "stride": 0}', content_type=JSON),
        422,
    ),
    (
        "bad: v2 of another shape",
        1,
        request(
            "POST",
            "/v2/models/cifar10-lenet/infer",
            b'{"inputs": [{"name": "images", "shape": [1, 3, 2, 2], "datatype": "UINT8", "data": [1]}]}',
            content_type=JSON,
        ),
        400,
    ),
    ("bad: unknown address", 1, request("GET", "/nowhere"), 404),
    ("bad: other method", 1, request("DELETE", "/predict"), 405),
    ("bad: no HTTP", 1, b"HELO example.org\r\n\r\n", 400),
    ("bad: head of 40 kB", 1, request("GET", "/filters", x_long="a" * 40_000), 431),
)
