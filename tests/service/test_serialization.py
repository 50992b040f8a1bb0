"""Answers with large matrices: written a piece at a time, to the same text as written whole."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.matrices import serialization
from service.matrices.serialization import write_object

shapes = arrays.array_shapes(min_dims=2, max_dims=3, max_side=7)
doubles = st.floats(allow_nan=False, allow_infinity=False)
others = {"shape": (2, 3), "size": {"formula": "a, [b]"}, "steps": [{"window": [[1.5]]}]}


@given(st.data(), shapes, st.integers(1, 40), st.sampled_from([0, 2**20]))
def test_what_is_written_in_pieces_is_what_is_written_whole(
    data: st.DataObject, shape: tuple[int, ...], cells: int, large: int
) -> None:
    exact = data.draw(st.booleans())
    numbers = st.integers(-(2**53), 2**53).map(float) if exact else doubles
    output = data.draw(arrays.arrays(np.float64, shape, elements=numbers))
    output = output.transpose(data.draw(st.permutations(range(len(shape)))))  # as channels are moved
    whole = np.ascontiguousarray(output.astype(np.int64) if exact else output)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serialization, "PIECE_CELLS", cells)
        patch.setattr(serialization, "LARGE_BYTES", large)
        text = write_object(output, others, exact=exact)
    assert bytes(text) == orjson.dumps({"output": whole, **others}, option=orjson.OPT_SERIALIZE_NUMPY)


@pytest.mark.parametrize("shape", [(90_000, 1, 1), (1, 90_000), (300, 300)])
@pytest.mark.parametrize("exact", [False, True])
def test_the_longest_numbers_fit_whatever_the_brackets(shape: tuple[int, ...], exact: bool) -> None:
    longest = -(2.0**53) if exact else -np.finfo(np.float64).tiny
    text = write_object(np.full(shape, longest), {"shape": shape}, exact=exact)
    assert np.array_equal(orjson.loads(text)["output"], np.full(shape, longest))


def test_a_large_body_is_answered_whether_its_length_is_told_or_not(client: httpx.Client) -> None:
    image = np.random.default_rng(0).random((300, 301))
    fields: dict[str, Any] = {"image": image, "filter": [[2]]}
    body = orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)
    assert len(body) > 2**20

    def in_chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    for content in (body, in_chunks()):
        answer = client.post("/convolve", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
        assert np.array_equal(answer.json()["output"], image * 2)


def test_a_large_body_that_is_no_json_is_refused_as_a_small_one_is(client: httpx.Client) -> None:
    body = b'{"image": [[' + b"1," * 2**20
    answer = client.post("/convolve", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "the body is not JSON" in answer.json()["detail"]
