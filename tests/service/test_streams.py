"""Large JSON bodies: read a piece at a time, to the same numbers and the same refusals as read whole."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ServiceError
from service.matrices import calls, streams
from service.matrices.buffers import Bytes, reserve
from service.matrices.calls import Call, read_call
from service.matrices.requests import ConvolveRequest
from service.matrices.streams import Unreadable, read_object

ROOT = Path(__file__).parents[2]
MANY = 10**9

numbers = st.one_of(
    st.integers(0, 255),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
shapes = st.tuples(st.integers(1, 9), st.integers(1, 9)) | st.tuples(*[st.integers(1, 5)] * 3)


def mapped(body: bytes) -> Bytes:
    """A body as the route hands on a large one."""
    buffer = reserve(len(body))
    buffer.write(body)
    return buffer


@st.composite
def matrices(draw: st.DrawFn) -> list[Any]:
    shape = draw(shapes)
    cells = draw(st.lists(numbers, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    return np.array(cells, dtype=object).reshape(shape).tolist()


@given(
    matrices(),
    st.sampled_from([None, 0, 2]),
    st.permutations(["image", "filter", "note"]),
    st.integers(1, 60),
    st.sampled_from([bytes, mapped]),
)
def test_what_is_read_in_pieces_is_what_is_read_whole(
    image: list[Any],
    indent: int | None,
    order: list[str],
    piece: int,
    held: Callable[[bytes], Bytes],
) -> None:
    fields = {"image": image, "filter": [[1, 2]], "note": 'a "quoted" {brace}, [bracket'}
    body = json.dumps({name: fields[name] for name in order}, indent=indent).encode()
    whole = np.array(orjson.loads(body)["image"], dtype=np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "PIECE_BYTES", piece)
        patch.setattr(streams, "NARROWEST", 1)
        values = read_object(held(body), max_cells=MANY)
    assert list(values) == order
    assert {name: values[name] for name in ("filter", "note")} == {n: fields[n] for n in ("filter", "note")}
    np.testing.assert_array_equal(values["image"], whole)
    assert values["image"].dtype == np.float64


ODD = [
    '{"image": [[1, 2], [3]], "filter": [[1]]}',
    '{"image": [[1, 2], [3, 4, 5], [6]], "filter": [[1]]}',
    '{"image": [[1], [2, 3], [4]], "filter": [[1]]}',
    '{"image": [[1, 2], []], "filter": [[1]]}',
    '{"image": [[]], "filter": [[1]]}',
    '{"image": [], "filter": [[1]]}',
    '{"image": [[[1, 2], [3]]], "filter": [[1]]}',
    '{"image": [[[1, 2], 3]], "filter": [[1]]}',
    '{"image": [[1, [2]], [3, 4]], "filter": [[1]]}',
    '{"image": [[[[1]]]], "filter": [[1]]}',
    '{"image": [[1, true]], "filter": [[1]]}',
    '{"image": [[1, false]], "filter": [[1]]}',
    '{"image": [[1, null]], "filter": [[1]]}',
    '{"image": [[1, "2"]], "filter": [[1]]}',
    '{"image": [[1, {}]], "filter": [[1]]}',
    '{"image": [[1, NaN]], "filter": [[1]]}',
    '{"image": [[1, Infinity]], "filter": [[1]]}',
    '{"image": [[1, 1e999]], "filter": [[1]]}',
    '{"image": [[1, -1e999]], "filter": [[1]]}',
    '{"image": [[1, 1' + "0" * 400 + ']], "filter": [[1]]}',
    '{"image": [[1, 2] [3, 4]], "filter": [[1]]}',
    '{"image": [[1, 2],, [3, 4]], "filter": [[1]]}',
    '{"image": [[1, 2], 3], "filter": [[1]]}',
    '{"image": [[1, 2], 3, [4, 5]], "filter": [[1]]}',
    '{"image": [[1, 2], [3, 4],], "filter": [[1]]}',
    '{"image": [[1, 2], [3, 4], "filter": [[1]]}',
    '{"image": [[1, 2], [3, 4]]], "filter": [[1]]}',
    '{"image": [[01, 2]], "filter": [[1]]}',
    '{"image": [[1, 2]]',
    '{"image": 5, "filter": [[1]]}',
    '[{"image": [[1, 2]]}]',
    '{"x": {"image": [[1, 2]]}, "filter": [[1]]}',
    '{"x": {"image": [[1, 2]]}, "image": "image 1", "filter": [[1]]}',
    '{"image": [[1, 2]], "image": [[3, 4]], "filter": [[1]]}',
    '{"image": [[1, 2]], "image": 3, "filter": [[1]]}',
    '{"note": ", \\"image\\": [[1, 2]]", "image": [[3, 4]], "filter": [[1]]}',
    '{"im\\u0061ge": [[1, 2]], "filter": [[1]]}',
    '{"filter": "nope", "image": [[1, 2]]}',
]


@pytest.mark.parametrize("text", ODD)
def test_what_is_odd_is_answered_as_if_read_whole(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(large: int, held: Callable[[bytes], Bytes] = bytes) -> object:
        monkeypatch.setattr(calls, "LARGE_BYTES", large)
        monkeypatch.setattr(streams, "PIECE_BYTES", 1)
        monkeypatch.setattr(streams, "NARROWEST", 0)
        try:
            call = Call(held(text.encode()), "application/json", [], "")
            return read_call(call, ConvolveRequest, max_cells=MANY)[0].image.tolist()
        except ServiceError as error:
            return type(error), error.detail, error.errors

    assert read(0) == read(0, mapped) == read(MANY) == read(MANY, mapped)


def test_a_matrix_over_the_limit_is_not_allocated() -> None:
    body = orjson.dumps({"image": [[1] * 100] * 100})
    assert read_object(body, max_cells=10_000)["image"].shape == (100, 100)
    with pytest.raises(Unreadable):
        read_object(body, max_cells=9_999)


# The body counts too; whoever calls keeps none of it.
MEASURE = """
import re, sys
from service.arithmetic.geometry import Limits
from service.matrices.answers import answer_convolve
from service.matrices.calls import Call

def answer(read):
    answer_convolve(Call(read(), "application/json", [], ""), Limits(2**24, 4 * 10**9))

def peak():  # not getrusage's, which begins with that of the process this one was forked from
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

answer(lambda: b'{"image": [[1, 2], [3, 4]], "filter": [[1]]}')
before = peak()
answer(open(sys.argv[1], "rb").read)
print((peak() - before) / (1000 * 1000 * 8))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["integers", "doubles"])
def test_a_convolution_takes_at_most_six_times_its_array(kind: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    size = (1000, 1000)
    matrix = generator.random(size) if kind == "doubles" else generator.integers(0, 256, size)
    body = tmp_path / "body.json"
    body.write_bytes(orjson.dumps({"image": matrix, "filter": "sobel-x"}, option=orjson.OPT_SERIALIZE_NUMPY))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(body)],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) <= 6
