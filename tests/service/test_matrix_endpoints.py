"""/convolve, /convolve/image, /pool and /filters over real HTTP."""

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch.nn import functional

from tests.answers import assert_problem
from tests.conftest import picture_file

Serve = Callable[..., httpx.Client]

NPY = "application/x-npy"
ARTICLE = [[10, 10, 10, 0, 0, 0]] * 6
JSON_TYPES: dict[str, Any] = {"array": list, "object": dict, "string": str, "boolean": bool}


def convolve(client: httpx.Client, image: Any = ARTICLE, **fields: Any) -> dict[str, Any]:
    answer = client.post("/convolve", json={"image": image, **fields})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def refuse(
    client: httpx.Client, path: str = "/convolve", status: int = 422, **fields: Any
) -> tuple[str, str]:
    """The first field that is blamed, and why."""
    problem = assert_problem(client.post(path, json=fields), status)
    return problem["errors"][0]["field"], problem["errors"][0]["detail"]


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def send_npy(
    client: httpx.Client, array: np.ndarray, path: str = "/convolve", **query: Any
) -> httpx.Response:
    words = {name: word if isinstance(word, str) else json.dumps(word) for name, word in query.items()}
    headers = {"Content-Type": NPY, "Accept": NPY}
    return client.post(path, content=npy(array), params=words, headers=headers)


def read_npy(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == NPY
    array: np.ndarray = np.load(io.BytesIO(answer.content), allow_pickle=False)
    assert array.dtype == np.float64
    return array


def send_picture(client: httpx.Client, picture: bytes, **form: Any) -> httpx.Response:
    return client.post("/convolve/image", files={"file": ("cat.png", picture, "image/png")}, data=form)


def read_picture(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


@pytest.fixture(scope="module")
def small_cat() -> np.ndarray:
    return skimage.data.chelsea()[100:180:2, 150:250:2]


@pytest.fixture(scope="module")
def cat_png(small_cat: np.ndarray) -> bytes:
    return picture_file(Image.fromarray(small_cat), "PNG")


# /convolve


def test_the_articles_edge_gives_its_4x4_answer_to_the_letter(client: httpx.Client) -> None:
    answer = client.post("/convolve", json={"image": ARTICLE, "filter": [[1, 0, -1]] * 3})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.text == (
        '{"output":[[0,30,30,0],[0,30,30,0],[0,30,30,0],[0,30,30,0]],"shape":[4,4],'
        '"size":{"formula":"floor((n + 2p - f) / s) + 1",'
        '"height":{"n":6,"p":0,"f":3,"s":1,"result":4},"width":{"n":6,"p":0,"f":3,"s":1,"result":4}}}'
    )


def test_stages_are_timed(client: httpx.Client) -> None:
    timing = client.post("/convolve", json={"image": ARTICLE, "filter": "box-3"}).headers["Server-Timing"]
    assert [stage.split(";")[0] for stage in timing.split(", ")] == ["decode", "infer", "total"]


def test_whole_numbers_stay_whole_and_others_do_not(client: httpx.Client) -> None:
    assert isinstance(convolve(client, filter=[[1]])["output"][0][0], int)
    assert isinstance(convolve(client, filter=[[2.0]])["output"][0][0], int)
    assert isinstance(convolve(client, filter=[[0.5]])["output"][0][0], float)
    assert isinstance(convolve(client, filter=[[1]], bias=0.5)["output"][0][0], float)
    largest = 2**53 - 1
    assert convolve(client, [[largest]], filter=[[-1]])["output"] == [[-largest]]


def test_a_flat_filter_on_channels_is_their_sum_and_a_deep_one_sees_each(client: httpx.Client) -> None:
    image = [[[1, 10, 100]] * 2] * 2
    assert convolve(client, image, filter=[[1, 1]])["output"] == [[222], [222]]
    assert convolve(client, image, filter=[[[1, 0, 0], [0, 0, 2]]])["output"] == [[201], [201]]
    turned = np.moveaxis(np.array(image), -1, 0).tolist()
    deep = [[[1, 0]], [[0, 0]], [[0, 2]]]
    assert convolve(client, turned, filter=deep, layout="CHW")["output"] == [[201], [201]]


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"filter": "box-3"}, (4, 3)),
        ({"filters": ["box-3"]}, (4, 3, 1)),
        ({"filters": ["box-3", "sobel-x"]}, (4, 3, 2)),
        ({"filter": "box-3", "per_channel": True}, (4, 3, 3)),
        ({"filters": ["box-3", "sobel-x"], "per_channel": True}, (4, 3, 6)),
    ],
)
def test_the_output_has_channels_where_asked_in_the_images_layout(
    client: httpx.Client, fields: Any, shape: Any
) -> None:
    image = np.arange(90).reshape(6, 5, 3)
    hwc = convolve(client, image.tolist(), **fields)
    assert tuple(hwc["shape"]) == np.shape(hwc["output"]) == shape
    chw = convolve(client, np.moveaxis(image, -1, 0).tolist(), layout="CHW", **fields)
    expected = np.moveaxis(np.array(hwc["output"]), -1, 0) if len(shape) == 3 else np.array(hwc["output"])
    np.testing.assert_allclose(chw["output"], expected)
    assert chw["shape"] == list(expected.shape)


def test_per_channel_of_a_flat_image_with_one_filter_stays_flat(client: httpx.Client) -> None:
    assert convolve(client, filter="identity", per_channel=True)["shape"] == [4, 4]
    assert convolve(client, filters=["identity"] * 2, per_channel=True)["shape"] == [4, 4, 2]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(3, 7), st.integers(3, 7)),
    kernels=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.integers(1, 2),
    npy=st.booleans(),
)
def test_a_layers_answer_is_torchs_as_json_and_as_npy(
    client: httpx.Client,
    seed: int,
    shape: Any,
    kernels: int,
    stride: int,
    dilation: int,
    padding: int,
    npy: bool,
) -> None:
    numbers = np.random.default_rng(seed)
    image, filters = numbers.normal(size=shape), numbers.normal(size=(kernels, shape[0], 3, 2))
    bias = numbers.normal(size=kernels)
    options = {"stride": stride, "dilation": dilation, "padding": padding}
    expected = functional.conv2d(*map(torch.from_numpy, (image[None], filters, bias)), **options)[0].relu()
    fields: dict[str, Any] = {"filters": filters.tolist(), "bias": bias.tolist(), "activation": "relu"}
    fields |= {"layout": "CHW", **options}
    if npy:
        output = read_npy(send_npy(client, image, **fields))
    else:
        output = np.array(convolve(client, image.tolist(), **fields)["output"])
    np.testing.assert_allclose(output, expected.numpy(), rtol=1e-12, atol=1e-12)


def test_size_tells_both_sides_where_padding_differs_and_the_dilation_where_there_is_one(
    client: httpx.Client,
) -> None:
    size = convolve(client, filter=[[1, 1]], padding=[1, 0, 2, 2], dilation=[1, 2], stride=[2, 1])["size"]
    assert size == {
        "formula": "floor((n + 2p - d(f - 1) - 1) / s) + 1",
        "height": {"n": 6, "p": 0.5, "f": 1, "d": 1, "s": 2, "result": 4, "before": 1, "after": 0},
        "width": {"n": 6, "p": 2, "f": 2, "d": 2, "s": 1, "result": 8},
    }


def test_steps_show_every_window_where_asked_and_only_there(client: httpx.Client) -> None:
    body = {"image": ARTICLE, "filter": "vertical-edge", "bias": 1}
    assert "steps" not in client.post("/convolve", json=body).json()
    assert "steps" not in client.post("/convolve?steps=false", json=body).json()
    steps = client.post("/convolve?steps=true", json=body).json()["steps"]
    assert len(steps) == 16
    assert steps[1] == {
        "row": 0,
        "column": 1,
        "window": [[10, 10, 0]] * 3,
        "products": [[10, 0, 0]] * 3,
        "sum": 30,
    }
    steps = client.post("/convolve?steps=true", json={"image": ARTICLE, "filters": ["box-3"] * 2}).json()[
        "steps"
    ]
    assert [(step["row"], step["column"], step["channel"]) for step in steps[:3]] == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
    ]


def test_too_many_steps_are_refused_with_their_number(client: httpx.Client) -> None:
    body = {"image": np.zeros((65, 64)).tolist(), "filter": [[1]]}
    problem = assert_problem(client.post("/convolve?steps=true", json=body), 422, "65×64×1, 4160 steps")
    assert problem["errors"][0]["field"] == "steps"
    body = {"image": np.zeros((74, 75)).tolist(), "filter": np.ones((11, 12)).tolist()}
    assert_problem(
        client.post("/convolve?steps=true", json=body), 422, "4096 steps of 264 numbers each are 1081344"
    )


@pytest.mark.parametrize(
    ("fields", "blamed", "says"),
    [
        ({"image": []}, "image", "image is empty"),
        ({"image": [[1, 2], [3]]}, "image", "image[1] is 1 long but image[0] is 2"),
        ({"image": [[1, "2"]]}, "image", "image[0][1] is a string"),
        ({"image": [[1, True]]}, "image", "image[0][1] is a boolean"),
        ({"filter": np.ones((7, 2)).tolist()}, "filter", "filter is 7×2 but the padded image is 6×6"),
        ({"filters": [[[1] * 4]], "filter": None, "dilation": 2}, "filters", "(1×7 when dilated)"),
        ({"filter": "sobel"}, "filter", "GET /filters lists them"),
        ({"filter": [[[1, 2]]]}, "filter", "filter has 2 channels in layout HWC but the image has 1"),
        ({"stride": 0}, "stride", "stride is 0"),
        ({"stride": 10**30}, "stride", "each from 1 to 2147483647"),
        ({"stride": 1.0}, "stride", "stride is 1.0"),
        ({"dilation": [1, -1]}, "dilation", "dilation is [1, -1]"),
        (
            {"padding": 10**9},
            "padding",
            "2000000006×2000000006×1, 4000000024000000036 cells; the limit is 16777216",
        ),
        ({"padding": "full", "dilation": 10**8}, "padding", "the limit is 16777216"),
        ({"padding": 2000, "filters": ["box-3"] * 9, "filter": None}, "filters", "4004×4004×9"),
        ({"padding": 2000, "filter": np.ones((500, 500)).tolist()}, "filter", "the limit is 4000000000"),
        ({"image": [[1e308] * 6] * 6}, "image", "too large for an IEEE double"),
        ({"value": 3}, "value", 'not "constant"'),
        ({"colour": "red"}, "colour", "there is no field colour"),
    ],
)
def test_what_cannot_be_convolved_is_refused_by_field_and_size(
    client: httpx.Client, fields: Any, blamed: str, says: str
) -> None:
    field, detail = refuse(client, **{"image": ARTICLE, "filter": [[10, 10]], **fields})
    assert field == blamed
    assert says in detail


def test_bodies_that_are_no_json_and_types_that_are_not_served_have_their_own_status(
    client: httpx.Client,
) -> None:
    kind = {"Content-Type": "application/json"}
    assert_problem(client.post("/convolve", content=b'{"image": [[1', headers=kind), 400, "not JSON")
    assert_problem(client.post("/convolve", content=b"[" * 100_000, headers=kind), 400, "not JSON")
    assert_problem(client.post("/convolve", content=b"", headers=kind), 400, "empty")
    assert_problem(client.post("/convolve", content=b"[]", headers=kind), 422, "JSON object")
    body = b'{"image": [[1, NaN]], "filter": "box-3"}'
    assert_problem(client.post("/convolve", content=body, headers=kind), 422, "image[0][1] is nan")
    answer = client.post("/convolve", data={"image": "1"})
    assert_problem(answer, 415, "send application/json or application/x-npy")


def test_fields_in_the_query_of_a_json_request_are_refused(client: httpx.Client) -> None:
    answer = client.post("/convolve?stride=2", json={"image": ARTICLE, "filter": "box-3"})
    assert assert_problem(answer, 422, "fields are in the body")["errors"][0]["field"] == "stride"


def test_limits_are_the_settings(serve: Serve) -> None:
    client = serve(max_cells=36, max_multiply_adds=144, max_body_bytes=10_000)
    assert convolve(client, filter="box-3")["shape"] == [4, 4]
    assert refuse(client, image=ARTICLE, filter="box-3", padding=1)[0] == "padding"
    assert refuse(client, image=ARTICLE, filters=["box-3", "identity"])[0] == "filters"
    assert_problem(
        send_npy(client, np.ones((6, 7), np.int8), filter="box-3"), 422, "42 cells; the limit is 36"
    )
    assert_problem(client.post("/convolve", content=bytes(20_000)), 413)


# .npy


def test_npy_is_answered_as_json_unless_npy_is_accepted(client: httpx.Client) -> None:
    image = np.array(ARTICLE, dtype=np.uint8)
    expected = [[0, 30, 30, 0]] * 4
    assert read_npy(send_npy(client, image, filter="vertical-edge")).tolist() == expected
    answer = client.post("/convolve?filter=vertical-edge", content=npy(image), headers={"Content-Type": NPY})
    assert answer.json()["output"] == expected
    body = {"image": ARTICLE, "filter": "vertical-edge"}
    assert read_npy(client.post("/convolve", json=body, headers={"Accept": NPY})).tolist() == expected


def test_npy_keeps_the_layout_it_came_in(client: httpx.Client) -> None:
    image = np.asfortranarray(np.arange(24.0).reshape(4, 3, 2))
    for layout, axes in (("HWC", (0, 1, 2)), ("CHW", (2, 0, 1))):
        sent = image.transpose(axes)
        output = read_npy(send_npy(client, sent, layout=layout, filter=[[1]], per_channel=True))
        np.testing.assert_array_equal(output, sent)


def test_wrong_npy_is_refused(client: httpx.Client) -> None:
    assert_problem(send_npy(client, np.ones((2, 2), complex), filter="box-3"), 422, "complex128")
    assert_problem(send_npy(client, np.ones((3, 3)), filter="box-3", steps="true"), 422, "steps are JSON")
    assert_problem(send_npy(client, np.ones((3, 3)), filtr="box-3"), 422, "no field filtr")
    headers = {"Content-Type": NPY}
    assert_problem(client.post("/convolve", content=b"no", headers=headers), 400, ".npy")
    twice = client.post("/convolve?stride=1&stride=2", content=npy(np.ones((3, 3))), headers=headers)
    assert_problem(twice, 422, "'stride' is given twice")


def test_an_image_too_large_for_json_is_convolved(client: httpx.Client) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1500, 1200), dtype=np.uint8)
    output = read_npy(send_npy(client, image, filter="sobel-x", padding="same", padding_mode="symmetric"))
    np.testing.assert_array_equal(output, ndimage.sobel(image.astype(float), axis=1))


# /convolve/image


@pytest.mark.parametrize("normalize", ["clip", "abs", "minmax"])
def test_a_picture_is_filtered_channel_by_channel(
    client: httpx.Client, small_cat: np.ndarray, cat_png: bytes, normalize: str
) -> None:
    form = {"filter": "sobel-y", "padding": "same", "padding_mode": "symmetric", "normalize": normalize}
    picture = read_picture(send_picture(client, cat_png, **form))
    found = np.stack([ndimage.sobel(small_cat[..., c].astype(float), axis=0) for c in range(3)], axis=-1)
    stretched = (found - found.min()) / np.ptp(found) * 255
    expected = {"clip": found, "abs": np.abs(found), "minmax": stretched}[normalize]
    difference = np.abs(picture.astype(float) - np.rint(np.clip(expected, 0, 255)))
    assert difference.max() <= (1 if normalize == "minmax" else 0)


def test_the_identity_gives_the_picture_back(
    client: httpx.Client, small_cat: np.ndarray, cat_png: bytes
) -> None:
    answer = send_picture(client, cat_png, filter="identity", padding="1")
    np.testing.assert_array_equal(read_picture(answer), small_cat)
    assert {stage.split(";")[0] for stage in answer.headers["Server-Timing"].split(", ")} >= {
        "decode",
        "infer",
    }


def test_one_channel_is_a_grey_picture_and_three_filters_a_colour_one(
    client: httpx.Client, small_cat: np.ndarray, cat_png: bytes
) -> None:
    grey = read_picture(send_picture(client, cat_png, filter="[[0.25]]", per_channel="false"))
    np.testing.assert_array_equal(grey, np.rint(np.minimum(small_cat.sum(-1) / 4, 255)))
    swap = json.dumps([[[[0, 0, 1]]], [[[0, 1, 0]]], [[[1, 0, 0]]]])
    swapped = read_picture(send_picture(client, cat_png, filters=swap, per_channel="False"))
    np.testing.assert_array_equal(swapped, small_cat[..., ::-1])


@pytest.mark.parametrize(
    ("form", "blamed", "says"),
    [
        ({}, "filter", "there is neither"),
        ({"filter": "sobel"}, "filter", "no filter 'sobel'"),
        ({"filter": "[[1, 2], [3]]"}, "filter", "filter[1] is 1 long"),
        ({"filter": "box-3", "steps": "true"}, "steps", "no field steps"),
        ({"filter": "box-3", "normalize": "none"}, "normalize", "'clip', 'abs' or 'minmax'"),
        ({"filter": "box-3", "per_channel": "maybe"}, "per_channel", "per_channel is 'maybe'"),
        ({"filter": ["box-3", "box-5"]}, "filter", "'filter' is given twice"),
        ({"filters": '["box-3", "box-3"]'}, "filters", "the output has 6 channels; a picture has 1 or 3"),
        ({"filter": "box-5", "dilation": "100"}, "filter", "filter is 5×5 (401×401 when dilated)"),
    ],
)
def test_a_wrong_form_is_refused_by_field(
    client: httpx.Client, cat_png: bytes, form: Any, blamed: str, says: str
) -> None:
    problem = assert_problem(send_picture(client, cat_png, **form), 422, says)
    assert problem["errors"][0]["field"] == blamed


def test_a_picture_that_is_missing_doubled_or_none_is_refused(client: httpx.Client, cat_png: bytes) -> None:
    form = {"filter": "box-3"}
    problem = assert_problem(client.post("/convolve/image", data=form, files={"other": cat_png}), 422)
    assert problem["errors"][0]["field"] == "file"
    twice = client.post("/convolve/image", data=form, files=[("file", cat_png)] * 2)
    assert_problem(twice, 422, "twice")
    asked = client.post("/convolve/image?normalize=abs", data=form, files={"file": cat_png})
    assert_problem(asked, 422, "not in the query")
    parts = {"file": cat_png, "filter": b"[[1]]"}
    assert assert_problem(client.post("/convolve/image", files=parts), 422, "is a file")
    text = {"file": (None, "cat.png"), "filter": (None, "box-3")}
    assert_problem(client.post("/convolve/image", files=text), 422, "is text")
    assert_problem(send_picture(client, b"no picture", **form), 400)
    assert_problem(
        client.post("/convolve/image", content=cat_png, headers={"Content-Type": "image/png"}), 415
    )


def test_a_picture_of_too_many_cells_is_refused_before_it_is_decoded(serve: Serve, cat_png: bytes) -> None:
    client = serve(max_cells=40 * 50 * 3 - 1)
    assert_problem(send_picture(client, cat_png, filter="box-3"), 413, "1999 pixels")


# /pool


def test_pooling_keeps_the_largest_or_the_average(client: httpx.Client) -> None:
    image = [[1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]]
    answer = client.post("/pool", json={"image": image, "size": 2})
    assert answer.text == (
        '{"output":[[9,2],[6,3]],"shape":[2,2],"size":{"formula":"floor((n + 2p - f) / s) + 1",'
        '"height":{"n":4,"p":0,"f":2,"s":2,"result":2},"width":{"n":4,"p":0,"f":2,"s":2,"result":2}}}'
    )
    answer = client.post("/pool", json={"image": image, "size": 2, "kind": "average"})
    assert answer.json()["output"] == [[3.75, 1.25], [3.75, 2.0]]


def test_pooling_keeps_the_images_axes_and_shows_steps(client: httpx.Client) -> None:
    image = np.arange(24).reshape(2, 3, 4)
    answer = client.post(
        "/pool?steps=true", json={"image": image.tolist(), "size": [2, 1], "stride": 1}
    ).json()
    assert answer["shape"] == [1, 3, 4]
    assert answer["output"] == image[1:].tolist()
    assert answer["steps"][1] == {"row": 0, "column": 0, "channel": 1, "window": [[1], [13]], "result": 13}
    body = {"image": image.tolist(), "size": [1, 2], "layout": "CHW", "padding": [0, 1]}
    assert client.post("/pool", json=body).json()["shape"] == [2, 3, 3]
    pooled = read_npy(send_npy(client, image, path="/pool", size=2, layout="CHW", kind="average"))
    np.testing.assert_array_equal(pooled, image[:, :2].reshape(2, 1, 2, 2, 2).mean(axis=(2, 4)))


@pytest.mark.parametrize(
    ("fields", "blamed", "says"),
    [
        ({"size": None}, "size", "size is null"),
        ({"size": 0}, "size", "size is 0"),
        ({"size": 7}, "size", "size is 7×7 but the padded image is 6×6"),
        ({"size": 2, "padding": 2}, "padding", "padding is 2 cells but size is 2"),
        ({"size": 10**9, "padding": 10**9 - 1}, "padding", "the limit is 16777216"),
        ({"size": 1500, "padding": 1499, "stride": 1}, "size", "the limit is 4000000000"),
        ({"size": 2, "kind": "min"}, "kind", "'max' or 'average'"),
        ({"size": 2, "filter": "box-3"}, "filter", "there is no field filter"),
    ],
)
def test_what_cannot_be_pooled_is_refused_by_field(
    client: httpx.Client, fields: Any, blamed: str, says: str
) -> None:
    field, detail = refuse(client, "/pool", **{"image": ARTICLE, **fields})
    assert field == blamed
    assert says in detail


# /filters and the documentation


def test_every_listed_filter_is_a_matrix_that_convolve_takes_by_name(client: httpx.Client) -> None:
    filters = client.get("/filters").json()["filters"]
    assert filters[0] == {
        "name": "vertical-edge",
        "matrix": [[1, 0, -1]] * 3,
        "finds": "vertical edges, bright left of dark positive",
    }
    assert len({one["name"] for one in filters}) == len(filters) >= 21
    image = np.arange(49).reshape(7, 7).tolist()
    for one in filters:
        assert convolve(client, image, filter=one["name"]) == convolve(client, image, filter=one["matrix"])


def test_whole_matrices_are_listed_in_whole_numbers(client: httpx.Client) -> None:
    matrices = {one["name"]: one["matrix"] for one in client.get("/filters").json()["filters"]}
    assert all(type(cell) is int for row in matrices["sobel-x"] for cell in row)
    assert matrices["box-3"] == [[1 / 9] * 3] * 3


def test_documented_examples_work_and_answer_what_is_documented(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, first in (("/convolve", "edge"), ("/pool", "max")):
        operation = paths[path]["post"]
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        answers = {name: client.post(path, json=example["value"]) for name, example in examples.items()}
        assert {answer.status_code for answer in answers.values()} == {200}
        documented = operation["responses"]["200"]["content"]["application/json"]["example"]
        assert answers[first].json() == documented


def test_the_documented_form_works(client: httpx.Client, cat_png: bytes) -> None:
    content = client.get("/openapi.json").json()["paths"]["/convolve/image"]["post"]["requestBody"]["content"]
    read_picture(send_picture(client, cat_png, **content["multipart/form-data"]["example"]))


def test_the_documentation_describes_bodies_queries_and_answers_in_full(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/convolve", "/pool"):
        operation = document["paths"][path]["post"]
        assert operation["summary"]
        assert operation["description"]
        assert set(operation["requestBody"]["content"]) == {"application/json", NPY}
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert "$ref" not in json.dumps(body)
        assert body["additionalProperties"] is False
        asked = {parameter["name"] for parameter in operation["parameters"]}
        assert asked == {"steps", *body["properties"]} - {"image"}
        assert set(operation["responses"]["200"]["content"]) == {"application/json", NPY}
        assert {"400", "413", "415", "422", "503"} < set(operation["responses"])
    picture = document["paths"]["/convolve/image"]["post"]
    assert set(picture["responses"]["200"]["content"]) == {"image/png"}
    form = picture["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    assert form["properties"]["per_channel"]["default"] is True


def test_a_large_convolution_does_not_hold_up_the_others(client: httpx.Client) -> None:
    image = np.ones((1500, 1500), np.float32)
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(send_npy, client, image, filter=np.ones((15, 15)).tolist())
        waits = [client.get("/health/live").elapsed.total_seconds() for _ in range(20)]
        assert read_npy(large.result()).shape == (1486, 1486)
    assert max(waits) < 0.5
