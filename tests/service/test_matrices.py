"""Bytes to arrays and back: JSON lists, .npy files, requests' fields, pictures."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.lib import format as npy_format
from PIL import Image

from service.errors import InvalidRequest, MalformedRequest, ServiceError, UnsupportedType
from service.matrices.calls import Call, read_call, read_words
from service.matrices.npy import read_npy, write_npy
from service.matrices.numbers import to_array
from service.matrices.rendering import encode_png, to_picture
from service.matrices.requests import ConvolveRequest, PoolRequest, read_fields

finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)
shapes = arrays.array_shapes(min_dims=2, max_dims=3, max_side=4)


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    npy_format.write_array(stream, array, version)
    return stream.getvalue()


def call(body: object = None, content_type: str = "application/json", accept: str = "", **query: str) -> Call:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(data, content_type, list(query.items()), accept)


def read(call: Call) -> tuple[ConvolveRequest, bool]:
    return read_call(call, ConvolveRequest, max_cells=1000)


def refusal(function: Any, *args: Any) -> tuple[str, str]:
    """The field and the sentence of the one error."""
    with pytest.raises(InvalidRequest) as caught:
        function(*args)
    (error,) = caught.value.errors
    return error.field, error.detail


# JSON lists


@settings(max_examples=60, deadline=None)
@given(st.data(), shapes)
def test_lists_of_finite_numbers_become_the_array_they_look_like(data: st.DataObject, shape: Any) -> None:
    cells = data.draw(st.lists(finite, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    expected = np.array([float(cell) for cell in cells]).reshape(shape)
    lists = np.array(cells, dtype=object).reshape(shape).tolist()
    array = to_array(lists, "image")
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, expected)


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    shapes,
    st.sampled_from([True, False, None, "1", [], [1], {}, float("nan"), float("inf"), 10**400]),
)
def test_one_cell_that_is_no_number_is_named_by_its_place(
    data: st.DataObject, shape: Any, wrong: Any
) -> None:
    if len(shape) == 2 and np.prod(shape) == 1 and isinstance(wrong, list):
        return  # one list in a list is a deeper matrix, not a wrong cell
    lists = np.zeros(shape).tolist()
    place = data.draw(st.tuples(*(st.integers(0, side - 1) for side in shape)))
    inner = lists
    for index in place[:-1]:
        inner = inner[index]
    inner[place[-1]] = wrong
    if isinstance(wrong, list) and len(shape) == 2 and place == (0, 0):
        return  # the first cell says how deep the matrix is; another is blamed then
    with pytest.raises(ValueError, match="image" + "".join(rf"\[{index}\]" for index in place)):
        to_array(lists, "image")


@pytest.mark.parametrize(
    ("lists", "sentence"),
    [
        ([], "image is empty"),
        ([[]], "image[0] is empty"),
        ([[1], []], "image[1] is empty"),
        ([[[1]], [[]]], "image[1][0] is empty"),
        ([[1, 2], [3]], "image[1] is 1 long but image[0] is 2: a matrix is not ragged"),
        ([[[1], [2]], [[3], [4, 5]]], "image[1][1] is 2 long but image[0][0] is 1: a matrix is not ragged"),
        ([[1], 2], "image[1] is the number 2, not a list"),
        ([[1], [[2]]], "image[1][0] is a list, not a number"),
        ([[[1], 2]], "image[0][1] is the number 2, not a list"),
        ([1, 2], "image[0] is the number 1, not a list"),
        (5, "image is the number 5, not a list"),
        ("[[1]]", "image is a string, not a list"),
        (None, "image is null, not a list"),
        ({}, "image is an object, not a list"),
        ([[[[1]]]], "image[0][0][0] is a list, not a number"),
        ([[True]], "image[0][0] is a boolean, not a number"),
        ([[1, "2"]], "image[0][1] is a string, not a number"),
        ([[float("nan")]], "image[0][0] is nan, not a finite number"),
        ([[0.5, 10**400]], "image[0][1] is too large for an IEEE double"),
    ],
)
def test_what_is_no_matrix_is_refused_in_one_sentence(lists: object, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared whole below
        to_array(lists, "image")
    assert str(caught.value) == sentence


# .npy


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("kind", ["?", "<i1", ">i2", "<u4", "<i8", ">u8", "<f2", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_real_type_order_and_version_is_read(kind: str, order: Any, version: Any) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4) % 2 + 1, dtype=kind, order=order)
    read = read_npy(npy(array, version), max_cells=24)
    assert read.dtype == np.float64
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, array)


def test_npy_is_written_as_numpy_reads_it() -> None:
    array = np.arange(6.0).reshape(2, 3).T
    back = np.load(io.BytesIO(write_npy(array)), allow_pickle=False)
    assert back.dtype == np.float64
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.ones((2, 2), complex), "complex128"),
        (np.ones((2, 2), np.longdouble), "longdouble|float128"),
        (np.array([["a"]]), "str"),
        (np.array([[b"a"]]), "bytes"),
        (np.zeros((1, 1), "M8[s]"), "datetime64"),
        (np.zeros((2, 2), [("x", "f8")]), "void"),
        (np.ones(3), "the array is 3; send 2 or 3 axes"),
        (np.ones(()), "the array is a single number"),
        (np.ones((1, 1, 1, 1)), "1×1×1×1"),
        (np.ones((0, 3)), "the array is 0×3; send 2 or 3 axes, none empty"),
        (np.ones((5, 5)), "the array is 5×5, 25 cells; the limit is 24"),
        (np.array([[1.0, np.nan]]), r"image\[0\]\[1\] is not a finite number"),
        (np.array([[1.0], [-np.inf]]), r"image\[1\]\[0\] is not a finite number"),
    ],
)
def test_npy_that_is_no_matrix_of_numbers_is_refused(array: np.ndarray, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        read_npy(npy(array), max_cells=24)
    assert caught.value.errors[0].field == "image"


def test_npy_is_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return open, (tmp_path / "exploded", "w")

    stream = io.BytesIO()
    np.save(stream, np.array([[Bomb()]], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidRequest, match="the array holds object"):
        read_npy(stream.getvalue(), max_cells=10)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "shape", ["(-1, -4)", "(99999999999, 99999999999)", "(True, 4)", "[1, 4]", "(1, 4.0)", "()"]
)
def test_a_header_that_lies_about_its_shape_is_refused(shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(32)
    if shape == "(True, 4)":  # true is 1 to NumPy's own reader too
        assert read_npy(body, max_cells=10).shape == (1, 4)
        return
    with pytest.raises((InvalidRequest, MalformedRequest)):
        read_npy(body, max_cells=10)


@pytest.mark.parametrize("change", [-1, 1, 8])
def test_npy_with_other_bytes_than_promised_is_refused(change: int) -> None:
    body = npy(np.ones((2, 2)))
    body = body[:change] if change < 0 else body + bytes(change)
    with pytest.raises(MalformedRequest, match=f"promises 32 bytes of numbers; {32 + change} follow"):
        read_npy(body, max_cells=10)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04",
        b"\x93NUMPY\x03\x00" + bytes(200),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        b"\x93NUMPY\x02\x00" + (9**5).to_bytes(4, "little") + b"(" * 9**5,
    ],
)
def test_bytes_that_are_no_npy_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest, match=r"not \.npy of version 1\.0 or 2\.0"):
        read_npy(body, max_cells=10)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 130), st.integers(0, 255)), min_size=1, max_size=3))
def test_damaged_npy_is_read_or_refused_but_never_breaks(damage: list[tuple[int, int]]) -> None:
    body = bytearray(npy(np.ones((2, 2))))
    for place, byte in damage:
        body[place] = byte
    try:
        array = read_npy(bytes(body), max_cells=100)
    except ServiceError:
        return
    assert np.isfinite(array).all()


# Fields of a request


@pytest.mark.parametrize(
    ("fields", "blamed", "says"),
    [
        ({"image": None}, "image", "image is null, not a list"),
        ({"imgae": [[1]]}, "imgae", "there is no field imgae; the fields are image, layout, filter,"),
        ({"filter": "sobel_x"}, "filter", "there is no filter 'sobel_x'; did you mean sobel-x?"),
        ({"filter": [[1, 2], [3]]}, "filter", "filter[1] is 1 long but filter[0] is 2"),
        ({"filters": []}, "filters", "filters has to be a list of filters, at least one"),
        ({"filters": "sobel-x"}, "filters", "filters has to be a list of filters"),
        ({"filters": ["sobel-x"] * 4097}, "filters", "filters are 4097; the limit is 4096"),
        ({"filters": ["sobel-x", "gaussian-5"]}, "filters", "filters[1] is 5×5 but filters[0] is 3×3"),
        ({"filters": ["sobel-x", [["x"]]]}, "filters", "filters[1][0][0] is a string, not a number"),
        ({"layout": "hwc"}, "layout", "layout is 'hwc'"),
        ({"padding": "SAME"}, "padding", 'padding is \'SAME\'; it has to be "valid", "same", "full"'),
        ({"padding": -1}, "padding", "padding is -1"),
        ({"padding": 1.0}, "padding", "padding is 1.0"),
        ({"padding": True}, "padding", "padding is true"),
        ({"padding": [1, 2, 3]}, "padding", "padding is [1, 2, 3]"),
        ({"padding": [1, "2"]}, "padding", "padding is [1, '2']"),
        ({"padding": None}, "padding", "padding is null"),
        ({"padding_mode": "mirror"}, "padding_mode", "padding_mode is 'mirror'; input should be 'zeros'"),
        ({"stride": 0}, "stride", "stride is 0; it has to be an integer or [vertical, horizontal]"),
        ({"stride": -(10**30)}, "stride", "stride is -1000000"),
        ({"stride": 10**30}, "stride", "each from 1 to 2147483647"),
        ({"stride": [1, 0]}, "stride", "stride is [1, 0]"),
        ({"stride": [1]}, "stride", "stride is [1]"),
        ({"dilation": True}, "dilation", "dilation is true"),
        ({"flip": 1}, "flip", "flip is 1; input should be a valid boolean"),
        ({"value": "1"}, "value", "value is '1'; input should be a valid number"),
        ({"value": True}, "value", "value is true"),
        ({"bias": True}, "bias", "bias is true; it has to be a number, or a list of one a filter"),
        ({"bias": [1, None]}, "bias", "bias[1] is null, not a number"),
        ({"bias": []}, "bias", "bias is empty"),
        ({"activation": "tanh"}, "activation", "activation is 'tanh'; input should be 'relu'"),
    ],
)
def test_a_wrong_field_is_named_with_what_it_holds(fields: dict[str, Any], blamed: str, says: str) -> None:
    field, detail = refusal(read_fields, ConvolveRequest, {"image": [[1]]} | fields)
    assert field == blamed
    assert says in detail


def test_every_wrong_field_of_a_request_is_named_but_not_without_end() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_fields(ConvolveRequest, {"stride": 0, "flip": "yes", "sride": 1})
    assert [error.field for error in caught.value.errors] == ["image", "stride", "flip", "sride"]
    with pytest.raises(InvalidRequest) as caught:
        read_fields(ConvolveRequest, {f"{n}" * 1000: n for n in range(1000)})
    assert len(caught.value.detail) < 20_000


@pytest.mark.parametrize(
    ("fields", "blamed", "says"),
    [
        ({}, "filter", "give filter or filters: there is neither"),
        ({"filter": "box-3", "filters": ["box-3"]}, "filter", "give filter or filters: not both"),
        ({"filter": "box-3", "value": 1}, "value", 'padding_mode is "zeros", not "constant"'),
        ({"filter": "box-3", "bias": [1, 2]}, "bias", "bias has 2 numbers for 1 filters"),
        ({"filters": ["box-3"] * 2, "bias": [1]}, "bias", "bias has 1 numbers for 2 filters"),
        ({"filter": [[[1, 2]]]}, "filter", "filter has 2 channels in layout HWC but the image has 3"),
        (
            {"filters": [[[[1]]]], "layout": "CHW"},
            "filters",
            "filters has 1 channels in layout CHW but the image has 3",
        ),
    ],
)
def test_fields_that_clash_are_named(fields: dict[str, Any], blamed: str, says: str) -> None:
    request = read_fields(ConvolveRequest, {"image": [[1]]} | fields)
    field, detail = refusal(request.convolution, 3)
    assert field == blamed
    assert says in detail


def test_layout_tells_the_axes_of_image_and_filter() -> None:
    hwc = read_fields(ConvolveRequest, {"image": [[[1, 2, 3]]], "filter": [[[4, 5, 6]]]})
    chw = read_fields(
        ConvolveRequest, {"image": [[[1]], [[2]], [[3]]], "filter": [[[4]], [[5]], [[6]]], "layout": "CHW"}
    )
    for request in (hwc, chw):
        assert request.channels_first.tolist() == [[[1]], [[2]], [[3]]]
        assert request.convolution(3).filters.tolist() == [[[[4]], [[5]], [[6]]]]
    flat = read_fields(ConvolveRequest, {"image": [[1]], "filter": [[4]]})
    assert flat.convolution(3).filters.tolist() == [[[[4]]]]


def test_every_option_reaches_the_convolution() -> None:
    options: dict[str, Any] = {
        **{"padding": [1, 2], "padding_mode": "constant", "value": -7, "stride": [2, 3], "dilation": [4, 5]},
        **{"flip": True, "bias": [0.5], "activation": "relu", "per_channel": True},
    }
    asked = read_fields(ConvolveRequest, {"image": [[1]], "filter": [[1]], **options}).convolution(1)
    for name, value in options.items():
        assert getattr(asked, name) == (tuple(value) if isinstance(value, list) else value), name


def test_poolings_fields_become_a_pooling() -> None:
    request = read_fields(PoolRequest, {"image": [[1]], "size": [2, 3], "padding": [1, 0], "kind": "average"})
    assert request.pooling.size == (2, 3)
    assert request.pooling.stride is None
    assert request.pooling.padding == (1, 0)
    assert refusal(read_fields, PoolRequest, {"image": [[1]]}) == ("size", "size is missing")
    assert refusal(read_fields, PoolRequest, {"image": [[1]], "size": 0})[0] == "size"


# Calls


@pytest.mark.parametrize(
    "kind", ["application/json", "", "application/json; charset=utf-8", "application/x.y+JSON"]
)
def test_json_is_read_under_its_types_and_none(kind: str) -> None:
    request, steps = read(call({"image": [[1]], "filter": "box-3"}, kind))
    assert (request.image.tolist(), steps) == ([[1]], False)


def test_other_types_are_refused_with_both_that_are_read() -> None:
    with pytest.raises(UnsupportedType, match="is text/csv; send application/json or application/x-npy"):
        read(call(b"1,2", "text/csv"))


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"image": [[1,]]}', b"\xff", b"[" * 10**6, b'{"image":' * 5000]
)
def test_a_body_that_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequest, match="the body is not JSON: "):
        read(call(body))


@pytest.mark.parametrize("word", [b"NaN", b"-Infinity", b"1e999", b"9" * 400])
def test_a_number_json_does_not_have_is_blamed_on_its_field(word: bytes) -> None:
    field, detail = refusal(read, call(b'{"image": [[1, ' + word + b']], "filter": "box-3"}'))
    assert field == "image"
    assert detail.startswith("image[0][1] is ")


@pytest.mark.parametrize("body", [b"[[1]]", b"5", b"null", b'"a"'])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    assert refusal(read, call(body)) == ("body", "the body has to be a JSON object")


def test_a_field_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ServiceError):
        read(call(b'{"\\ud800": 1, "image": [[NaN]]}'))


def test_npy_takes_its_fields_from_the_query_as_json_or_words() -> None:
    query = {
        "filter": "[[1, 0], [0, 1]]",
        "padding": "same",
        "stride": "[1, 2]",
        "flip": "true",
        "steps": "true",
    }
    request, steps = read(call(npy(np.eye(3)), "application/x-npy", **query))
    assert request.image.tolist() == np.eye(3).tolist()
    assert (request.padding, request.stride, request.flip, steps) == ("same", (1, 2), True, True)
    assert request.convolution(1).filters.tolist() == [[[[1, 0], [0, 1]]]]


@pytest.mark.parametrize(
    ("query", "blamed"),
    [
        ({"steps": "yes"}, "steps"),
        ({"steps": "1"}, "steps"),
        ({"flip": "TRUE"}, "flip"),
        ({"filtr": "box-3"}, "filtr"),
        ({"image": "[[1]]"}, "image"),
        ({"filter": "[[NaN]]"}, "filter"),
        ({"filter": "[" * 5000}, "filter"),
        ({"bias": "Infinity"}, "bias"),
        ({"value": "NaN"}, "value"),
    ],
)
def test_a_wrong_word_of_the_query_is_named(query: dict[str, str], blamed: str) -> None:
    assert refusal(read, call(npy(np.eye(3)), "application/x-npy", **query))[0] == blamed


def test_a_name_given_twice_is_refused_and_so_are_fields_beside_json() -> None:
    assert refusal(read_words, [("stride", "1"), ("stride", "2")]) == ("stride", "'stride' is given twice")
    field, detail = refusal(read, call({"image": [[1]], "filter": "box-3"}, stride="2"))
    assert field == "stride"
    assert "with JSON, fields are in the body" in detail


def test_steps_are_not_to_be_had_as_npy() -> None:
    asked = call({"image": [[1]], "filter": "box-3"}, accept="application/x-npy, */*", steps="true")
    assert refusal(read, asked)[0] == "steps"


# Pictures


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [("clip", [0, 0, 2, 100, 255]), ("abs", [255, 10, 2, 100, 255]), ("minmax", [0, 107, 113, 149, 255])],
)
def test_numbers_become_0_to_255_in_each_way(normalize: Any, expected: list[int]) -> None:
    output = np.array([[[-300.0, -10.0, 1.6, 100.0, 390.0]]])
    if normalize == "minmax":
        expected = [round((number + 300) / 690 * 255) for number in output.ravel()]
    assert to_picture(output, normalize).ravel().tolist() == expected


def test_minmax_takes_all_channels_together_and_bears_any_range() -> None:
    assert to_picture(np.array([[[0.0]], [[1.0]]]), "minmax").ravel().tolist() == [0, 255]
    assert to_picture(np.full((1, 1, 2), 7.0), "minmax").ravel().tolist() == [0, 0]
    assert to_picture(np.array([[[-1.7e308, 0.0, 1.7e308]]]), "minmax").ravel().tolist() == [0, 128, 255]


def test_one_channel_is_a_grey_png_and_three_are_rgb() -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    with Image.open(io.BytesIO(encode_png(picture))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (4, 2))
        np.testing.assert_array_equal(np.asarray(image), np.moveaxis(picture, 0, -1))
    with Image.open(io.BytesIO(encode_png(picture[:1]))) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), picture[0])
