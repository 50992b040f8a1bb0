"""JSON and .npy that lie, swell or never end."""

import io
import json
import pickle
import struct
from collections.abc import Callable

import numpy as np

from tests.fuzz.corpus import JSON, MEGABYTE, NPY, Case
from tests.fuzz.hostile_forms import MATRIX_QUERIES

IMAGE = b'"image":[[1,2],[3,4]]'
FILTER = b'"filter":[[1]]'


def call(more: bytes = b"", image: bytes = IMAGE, window: bytes = FILTER) -> bytes:
    """Write a call of `/convolve`, with more in it."""
    return b"{" + b",".join(part for part in (image, window, more) if part) + b"}"


def image(cells: bytes) -> bytes:
    return call(image=b'"image":' + cells)


FIELDS = [
    "image",
    "filter",
    "filters",
    "padding",
    "padding_mode",
    "value",
    "stride",
    "dilation",
    "flip",
    "bias",
    "activation",
    "layout",
]
LISTS = "lists and objects; the limit is 1,048,576"
Making = dict[str, tuple[Callable[[], bytes], str]]
TEXTS: Making = {
    "nothing": (lambda: b"", ""),
    "depth 100,000": (lambda: image(b"[" * 100_000 + b"]" * 100_000), ""),
    "depth of 24 MB": (lambda: b"[" * (24 * MEGABYTE), ""),
    "depth of objects": (lambda: b'{"image":' * 100_000, ""),
    "depth 900": (lambda: image(b"[" * 900 + b"1" + b"]" * 900), ""),
    "a million keys": (
        lambda: call(b",".join(b'"k%d":1' % n for n in range(10**6))),
        "1,000,002 fields; the limit",
    ),
    "20 keys": (
        lambda: call(b",".join(b'"%d":1' % n * 1 for n in range(20))),
        "there are 22 fields; the limit",
    ),
    "long keys": (lambda: call(b",".join(b'"%s":1' % (b"%d" % n * 9999) for n in range(8))), ""),
    "keys of pictographs": (
        lambda: call(",".join(f'"{chr(0x1F600 + n) * 99}":1' for n in range(8)).encode()),
        "",
    ),
    "empty lists": (lambda: image(b"[" + b"[]," * 8 * 10**6 + b"[]]"), LISTS),
    "empty objects": (lambda: image(b"[" + b"{}," * 8 * 10**6 + b"{}]"), LISTS),
    "lists of one": (lambda: image(b"[" + b"[1]," * 6 * 10**6 + b"[1]]"), LISTS),
    "empty texts": (lambda: image(b"[[" + b'"",' * 8 * 10**6 + b"1]]"), ""),
    "a text of 24 MB": (lambda: image(b'"' + b"a" * (24 * MEGABYTE) + b'"'), ""),
    "a key of 24 MB": (lambda: b'{"' + b"a" * (24 * MEGABYTE) + b'":1}', ""),
    "a million digits": (lambda: image(b"[[" + b"9" * 10**6 + b"]]"), ""),
    "a million decimals": (lambda: image(b"[[0." + b"9" * 10**6 + b"]]"), ""),
    "400 digits": (lambda: image(b"[[" + b"9" * 400 + b"]]"), ""),
    "NaN": (lambda: image(b"[[NaN]]"), ""),
    "Infinity": (lambda: image(b"[[1,-Infinity]]"), ""),
    "1e999": (lambda: image(b"[[1e999]]"), ""),
    "products beyond doubles": (lambda: call(window=b'"filter":[[1e308]]', image=b'"image":[[1e308]]'), ""),
    "the least double": (lambda: image(b"[[5e-324,-0.0]]"), ""),
    "half a surrogate pair as a key": (lambda: call(b'"\\ud800":1'), ""),
    "half a surrogate pair as a value": (lambda: call(b'"padding_mode":"\\udfff"'), ""),
    "20 keys with half a surrogate pair": (
        lambda: call(b",".join(b'"\\ud8%02x":1' % n for n in range(20))),
        "",
    ),
    "a byte order mark": (lambda: b"\xef\xbb\xbf" + call(), ""),
    "UTF-16": (lambda: call().decode().encode("utf-16"), ""),
    "UTF-32": (lambda: call().decode().encode("utf-32"), ""),
    "no UTF-8": (lambda: call(b'"note":"\xff"'), ""),
    "null bytes": (lambda: b"\0" * 999, ""),
    "the image twice": (lambda: call(IMAGE), ""),
    "ragged": (lambda: image(b"[[1,2],[3]]"), ""),
    "ragged and large": (lambda: image(b"[" + b"[1,2,3]," * 400_000 + b"[1]]"), ""),
    "a NaN after 8 million numbers": (lambda: image(b"[[" + b"1," * 8 * 10**6 + b"NaN]]"), ""),
    "a brace after 8 million numbers": (lambda: image(b"[[" + b"1," * 8 * 10**6 + b"}]]"), ""),
    "a padding of 10^9": (lambda: call(b'"padding":1000000000'), "the limit is 16777216"),
    "a padding of 10^99": (lambda: call(b'"padding":1' + b"0" * 99), ""),
    "a padding of 10^6 sides": (lambda: call(b'"padding":[' + b"1," * 10**6 + b"1]"), ""),
    "a negative padding": (lambda: call(b'"padding":-1'), ""),
    "reflection of too much": (lambda: call(b'"padding":4000,"padding_mode":"reflect"'), ""),
    "stride 0": (lambda: call(b'"stride":0'), ""),
    "a stride of 2^31": (lambda: call(b'"stride":2147483648'), ""),
    "a huge dilation": (lambda: call(b'"dilation":2147483647', window=b'"filter":[[1,1]]'), "when dilated"),
    "a huge dilation, padded": (
        lambda: call(b'"dilation":2147483647,"padding":"full"', window=b'"filter":[[1,1]]'),
        "the limit is 16777216",
    ),
    "a filter larger than the image": (
        lambda: call(window=b'"filter":[' + b"[1]," * 9999 + b"[1]]"),
        "filter",
    ),
    "two million filters": (
        lambda: call(window=b'"filters":[' + b'"box-3",' * 2 * 10**6 + b'"box-3"]'),
        "limit is 4096",
    ),
    "a bias of a million": (lambda: call(b'"bias":[' + b"1," * 10**6 + b"1]"), "the limit is 4,096"),
    "an infinite bias": (lambda: call(b'"bias":1e400'), ""),
    "everything wrong": (
        lambda: (
            b'{"image":1,"filter":{},"layout":[],"padding":{},"padding_mode":1,"value":"","stride":"",'
            b'"dilation":[],"flip":2,"bias":{},"activation":9}'
        ),
        "",
    ),
    "everything wrong at length": (
        lambda: json.dumps(dict.fromkeys(FIELDS, [["long" * 99] * 9] * 9)).encode(),
        "",
    ),
    "a list": (lambda: b"[1,2]", ""),
    "a number": (lambda: b"1", ""),
    "work of 10^13": (
        lambda: call(
            image=b'"image":[' + b",".join([b"[" + b"1," * 1999 + b"1]"] * 2000) + b"]",
            window=b'"filter":[' + b",".join([b"[" + b"1," * 999 + b"1]"] * 1000) + b"]",
        ),
        "the limit is 4000000000",
    ),
}


def array(dtype: str, shape: tuple[int, ...] = (8, 8), order: str = "C") -> bytes:
    """Write an array as NumPy does."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(np.zeros(shape, dtype), order=order), allow_pickle=True)  # type: ignore[call-overload]
    return buffer.getvalue()


def npy(header: str, data: bytes = bytes(64), version: int = 1) -> bytes:
    """Write a .npy with a header of one's own."""
    length = struct.pack("<H" if version == 1 else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + b"\n" + data


def described(descr: str = "'|u1'", shape: str = "(8, 8)", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


class Opened:
    """Asks whoever unpickles it to write a file."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("pwned", "w")


ARRAYS: Making = {
    "pickled objects": (lambda: npy(described("'|O'"), pickle.dumps(Opened())), "object"),
    "a pickle": (lambda: pickle.dumps(Opened()), ""),
    "a shape that lies": (lambda: npy(described(shape="(9, 9)")), "promises 81 bytes of numbers; 64 follow"),
    "a shape that overflows": (lambda: npy(described(shape=f"({2**33}, {2**33})")), "the limit is 16777216"),
    "a shape of 10^4000": (lambda: npy(described(shape=f"(1, {'9' * 1500})")), ""),
    "a negative shape": (lambda: npy(described(shape="(-8, -8)")), ""),
    "a shape of 0": (lambda: npy(described(shape="(0, 8)"), b""), ""),
    "a shape of truths": (lambda: npy(described(shape="(True, True)"), b"1"), ""),
    "a shape of texts": (lambda: npy(described(shape="('8', '8')")), ""),
    "32 axes": (lambda: npy(described(shape="(" + "1, " * 32 + ")"), b"1"), ""),
    "99 axes": (lambda: npy(described(shape="(" + "1, " * 99 + ")"), b"1"), ""),
    "no axes": (lambda: npy(described(shape="()"), b"1"), ""),
    "a header of 60 KB": (lambda: npy(described() + " " * 60_000), ""),
    "a header of 4 GB": (lambda: b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(99), ""),
    "a deep header": (lambda: npy("(" * 1500 + ")" * 500), ""),
    "a header that is code": (lambda: npy("__import__('os').system('id')"), ""),
    "a header of powers": (lambda: npy(described(shape="(9**9**9, 8)")), ""),
    "version 3": (lambda: npy(described(), version=3), ""),
    "Fortran's order": (lambda: array("f8", (30, 40), "F"), ""),
    "Fortran's order, as a number": (lambda: npy(described(fortran="1")), ""),
    "a structured type": (lambda: npy(described("[('a', '<f8'), ('b', '<i4')]")), ""),
    "a type of sub-arrays": (lambda: npy(described("('<f8', (2, 2))")), ""),
    "complex numbers": (lambda: array("c16"), "complex128"),
    "long doubles": (lambda: array("longdouble"), ""),
    "dates": (lambda: array("M8[s]"), ""),
    "texts": (lambda: array("U9"), ""),
    "nothing at all": (lambda: array("V0", (2, 2)), ""),
    "NaN": (
        lambda: npy(described("'<f8'", "(1, 2)"), struct.pack("<dd", 1, np.nan)),
        "image[0][1] is not a finite",
    ),
    "nearly infinite": (lambda: npy(described("'<f8'", "(1, 2)"), struct.pack("<dd", 1e308, 1e308)), ""),
    "cut short": (lambda: array("f8")[:-1], "promises 512 bytes of numbers; 511 follow"),
    "its start alone": (lambda: b"\x93NUMPY", ""),
    "17 million cells": (lambda: array("u1", (4097, 4097)), "16785409 cells; the limit is 16777216"),
    "a .npz": (lambda: b"PK\3\4" + bytes(99), ""),
}

MATRICES = [
    *(
        Case(name, path, make, JSON, says if path == "/convolve" else "")
        for name, (make, says) in TEXTS.items()
        for path in ("/convolve", "/pool")
    ),
    *(Case(name, "/convolve?filter=identity", make, NPY, says) for name, (make, says) in ARRAYS.items()),
    *(Case(name, "/pool?size=2", make, NPY) for name, (make, _) in ARRAYS.items()),
    *(Case(name, f"/convolve?{query}", lambda: array("u1"), NPY) for name, query in MATRIX_QUERIES.items()),
    *(Case(name, f"/convolve?{query}", call, JSON) for name, query in MATRIX_QUERIES.items()),
    Case("fields of pools in JSON", "/pool", lambda: call(b'"size":2147483647', window=b""), JSON),
    Case("10^9 steps", "/convolve?steps=true", lambda: call(b'"padding":2000'), JSON, "4096"),
    Case("an unknown type", "/convolve", call, "a" * 20_000),
]
