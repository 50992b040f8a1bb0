"""Mutated pictures, forms and matrices: an answer or a refusal that is meant, and both readers agree.

`FUZZ_EXAMPLES` tries so many of each; with `CI` set the examples are the same each time.
"""

import json
import os
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.arithmetic.geometry import Limits
from service.errors import (
    InvalidRequest,
    MalformedRequest,
    ServiceError,
    TooLarge,
    UndecodablePicture,
    UnsupportedType,
)
from service.images import decode_image
from service.matrices import streams
from service.matrices.answers import answer_convolve, answer_pool
from service.matrices.calls import Call
from service.matrices.streams import Unreadable, read_object
from service.problems import as_problem
from service.uploads import cut_one_file, parse_form, parse_parts
from tests.fuzz.corpus import BOUNDARY, FORM, JSON, NPY
from tests.fuzz.hostile_rasters import WHOLE

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "600"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="CI" in os.environ,
    suppress_health_check=list(HealthCheck),
)
MOST_PIXELS = 100_000
SHORT = 2000  # characters
LIMITS = Limits(2**16, 10**6)


def assert_sayable(error: ServiceError, *kinds: type[ServiceError]) -> None:
    """Hold a refusal to the kinds meant, and to what may be sent: short, nothing of the inside."""
    assert isinstance(error, kinds or ServiceError)
    text = orjson.dumps(as_problem(error)).decode()
    assert len(text) < SHORT
    for inside in ("Traceback", " object at ", "site-packages"):
        assert inside not in text


# Pictures

places = st.floats(0, 1, exclude_max=True)
damage = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(0, 255)),
    st.tuples(
        st.just("number"), places, st.sampled_from([0, 1, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1])
    ),
    st.tuples(st.just("cut"), places, places),
    st.tuples(st.just("repeat"), places, places),
    st.tuples(st.just("splice"), places, st.sampled_from(list(WHOLE.values()))),
    st.tuples(st.just("insert"), places, st.binary(max_size=32)),
)


def damaged(body: bytes, kind: str, place: float, how: Any) -> bytes:
    """Hurt a file in one way, at one place of it."""
    at = int(place * len(body))
    match kind:
        case "flip":
            return body[:at] + bytes([how]) + body[at + 1 :]
        case "number":
            width = 2 if how < 2**16 else 4
            return body[:at] + how.to_bytes(width, "little" if at % 2 else "big") + body[at + width :]
        case "cut":
            return body[:at] + body[at + int(how * 64) :]
        case "repeat":
            return body[:at] + body[at : at + int(how * 64)] * 9 + body[at:]
        case "splice":
            return body[:at] + how[int(place * len(how)) :]
        case _:
            return body[:at] + how + body[at:]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # the service ignores them as well
@fuzzed
@given(
    form=st.sampled_from(list(WHOLE)),
    hurts=st.lists(damage, min_size=1, max_size=6),
    channels=st.sampled_from([1, 3]),
    square=st.sampled_from([None, 4, 32]),
)
def test_a_damaged_picture_is_pixels_or_a_refusal(
    form: str, hurts: list[Any], channels: int, square: int | None
) -> None:
    body = WHOLE[form]
    for hurt in hurts:
        body = damaged(body, *hurt)
    try:
        pixels = decode_image(body, max_pixels=MOST_PIXELS, channels=channels, square=square)
    except ServiceError as error:
        assert_sayable(error, UndecodablePicture, TooLarge)
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[0] == channels
    assert 0 < pixels[0].size <= MOST_PIXELS


# Forms

names = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\\r\n\0', exclude_categories=["C"]),
    min_size=1,
    max_size=20,
)
contents = st.binary(max_size=200).filter(lambda data: BOUNDARY.encode() not in data)
parts = st.tuples(
    names, st.none() | names, st.none() | st.sampled_from(["image/png", "text/plain"]), contents
)


def written(form: list[tuple[str, str | None, str | None, bytes]]) -> bytes:
    body = b""
    for name, filename, kind, data in form:
        head = f'Content-Disposition: form-data; name="{name}"'
        head += f'; filename="{filename}"' if filename is not None else ""
        head += f"\r\nContent-Type: {kind}" if kind else ""
        body += f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


@fuzzed
@given(st.lists(parts, min_size=1, max_size=6))
def test_a_form_comes_back_as_it_was_written(form: list[tuple[str, str | None, str | None, bytes]]) -> None:
    read = parse_form(written(form), FORM, 9)
    assert [part.data for part in read] == [data for *_, data in form]
    assert [part.name for part in read] == [name for name, *_ in form]
    assert [part.filename is None for part in read] == [filename is None for _, filename, *_ in form]
    assert [part.content_type for part in read] == [kind for *_, kind, _ in form]


tokens = st.sampled_from(
    [
        *(
            b"--XyZ",
            b"--XyZ--",
            b"\r\n",
            b"\r",
            b"\n",
            b"\r\n\r\n",
            b"--",
            b":",
            b";",
            b"=",
            b'"',
            b"\0",
            b"\xff",
        ),
        *(
            b"Content-Disposition: form-data",
            b"; name=file",
            b'; name="file"',
            b'; filename="a.png"',
            b"name*=utf-8''",
        ),
        *(
            b"Content-Type: image/png",
            b"--XyZ\r\nContent-Disposition: form-data; name=a\r\n\r\n",
            b"filename*0*=",
        ),
    ]
)
types = st.sampled_from([FORM, f'{FORM}; charset="x"', 'multipart/form-data; boundary="XyZ"']) | st.text(
    max_size=40
).map(lambda text: "multipart/form-data; boundary=" + text.encode("latin-1", "replace").decode("latin-1"))


@fuzzed
@given(st.lists(tokens | st.binary(max_size=9), max_size=20).map(b"".join), types)
def test_any_bytes_are_parts_or_refused_and_both_ways_agree(body: bytes, kind: str) -> None:
    cut = cut_one_file(body, kind)
    try:
        read = parse_parts(body, kind, 3)
    except (MalformedRequest, TooLarge) as error:
        assert cut is None
        assert_sayable(error)
        return
    assert cut is None or read == [cut]


# Matrices

numbers = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([0, 1, -0.0, 1e308, 5e-324, 255, True, None, "1"])
)
words = st.sampled_from(
    ["same", "full", "valid", "reflect", "circular", "relu", "max", "average", "sobel-x", "HWC", "CHW"]
)
anything = st.recursive(
    numbers | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
small = st.integers(-3, 300) | st.floats(allow_nan=False, allow_infinity=False, width=16)
matrix = st.integers(1, 5).flatmap(
    lambda w: st.lists(st.lists(small, min_size=w, max_size=w), min_size=1, max_size=5)
)
sizes = st.integers(-1, 4) | st.lists(st.integers(0, 4), min_size=1, max_size=5) | anything
calls_made = st.fixed_dictionaries(
    {"image": matrix | anything},
    optional={
        **{"filter": matrix | words | anything, "filters": st.lists(matrix | words, max_size=3) | anything},
        **{"padding": words | sizes, "padding_mode": words | anything, "value": numbers, "stride": sizes},
        **{"dilation": sizes, "size": sizes, "kind": words | anything, "layout": words | anything},
        **{"bias": small | st.lists(small, max_size=3) | anything, "activation": words | anything},
        **{"flip": st.booleans() | anything, "per_channel": st.booleans() | anything, "note": anything},
    },
)


def assert_answered(body: bytes, kind: str, query: list[tuple[str, str]]) -> None:
    """Hold both endpoints to an answer of finite JSON or to a refusal."""
    for answer in (answer_convolve, answer_pool):
        try:
            found = answer(Call(body, kind, query, ""), LIMITS)
        except (InvalidRequest, MalformedRequest, TooLarge, UnsupportedType) as error:
            assert_sayable(error)
        else:
            assert orjson.loads(found.body)["shape"]


@fuzzed
@given(calls_made, st.booleans())
def test_a_call_of_anything_is_answered_or_refused(values: dict[str, Any], steps: bool) -> None:
    body = json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert_answered(body, JSON, [("steps", "true")] if steps else [])
    assert_answered(json.dumps(values).encode(), JSON, [])


@fuzzed
@given(calls_made, st.integers(0, 60), st.binary(max_size=4), places)
def test_what_is_nearly_json_is_read_in_pieces_as_it_is_whole(
    values: dict[str, Any], piece: int, more: bytes, place: float
) -> None:
    text = json.dumps(values).encode()
    at = int(place * len(text))
    body = text[:at] + more + text[at + (piece % 3) :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "PIECE_BYTES", piece)
        patch.setattr(streams, "NARROWEST", 0)
        try:
            quick = read_object(body, max_cells=999)
        except Unreadable:
            return
    slow = orjson.loads(body)
    np.testing.assert_array_equal(quick.pop("image"), np.array(slow.pop("image"), np.float64))
    assert quick == slow


@fuzzed
@given(
    st.lists(
        st.sampled_from('[]{},:"01-.eE ntfu\\ \n\ufeff\0')
        | st.sampled_from(['"image"', "[[1,2],[3,4]]", '"filter"', "NaN", "\\ud800"]),
        max_size=40,
    )
)
def test_any_text_is_answered_or_refused(pieces: list[str]) -> None:
    assert_answered("".join(pieces).encode(), JSON, [])
    assert_answered(f'{{"image": {"".join(pieces)}, "filter": "box-3", "size": 2}}'.encode(), JSON, [])


@fuzzed
@given(
    st.sampled_from(["u1", "f8", "<i2", ">f4", "?", "f2", "c8", "O", "U2", "M8[s]"]),
    st.lists(damage, max_size=4),
    st.dictionaries(
        st.sampled_from(["filter", "padding", "size", "stride", "layout", "steps", "bias"]),
        st.text(max_size=9) | words,
        max_size=4,
    ),
)
def test_a_damaged_npy_is_answered_or_refused(dtype: str, hurts: list[Any], query: dict[str, str]) -> None:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': (4, 4), }}\n".encode()
    body = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(16 * 8)
    for hurt in hurts:
        body = damaged(body, *hurt)
    assert_answered(body, NPY, list(query.items()))
