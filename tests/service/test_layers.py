"""POST /layers and /layers/{layer} over real HTTP: every layer of the served networks, and single cells."""

import io
from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from service.model import load_model
from tests.answers import assert_problem
from tests.artefacts import Chunks, Grey, Large, write_weird
from tests.conftest import MODELS, picture_file

Serve = Callable[..., httpx.Client]
LENET = "cifar10-lenet"


def send(client: httpx.Client, data: bytes, **query: object) -> dict[str, Any]:
    """Give what /layers answers."""
    answer = client.post("/layers", files={"file": data}, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ask(client: httpx.Client, data: bytes, layer: str, **query: object) -> httpx.Response:
    return client.post(f"/layers/{layer}", files={"file": data}, params={"model": LENET} | query)


def decode(png: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(b64decode(png))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def maps_of(layer: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Read the maps of a layer's strip back: K×H×W, in the layer's own numbers."""
    maps = layer["maps"]
    strip = decode(maps["png"])
    assert strip.shape == (maps["height"], maps["count"] * maps["width"])
    apart = strip.reshape(maps["height"], maps["count"], maps["width"]).transpose(1, 0, 2)
    return layer["minimum"] + apart / 255 * (layer["maximum"] - layer["minimum"])


def test_the_articles_network_is_shown_layer_by_layer(client: httpx.Client, cat: bytes) -> None:
    body = send(client, cat, model=LENET)
    assert (body["model"], body["version"]) == (LENET, "1.0.0")
    layers = body["layers"]
    assert [(layer["name"], layer["title"], layer["output_shape"]) for layer in layers] == [
        ("scale1", "scaling", [3, 32, 32]),
        ("conv1", "convolution", [6, 28, 28]),
        ("relu1", "ReLU", [6, 28, 28]),
        ("pool1", "max pooling", [6, 14, 14]),
        ("conv2", "convolution", [16, 10, 10]),
        ("relu2", "ReLU", [16, 10, 10]),
        ("pool2", "max pooling", [16, 5, 5]),
        ("flatten1", "flatten", [400]),
        ("fc1", "fully connected", [120]),
        ("relu3", "ReLU", [120]),
        ("fc2", "fully connected", [84]),
        ("relu4", "ReLU", [84]),
        ("fc3", "fully connected", [10]),
        ("scale2", "scaling", [10]),
        ("softmax", "softmax", [10]),
    ]
    counts = {layer["name"]: layer["parameter_count"] for layer in layers if layer["parameter_count"]}
    assert counts == {"conv1": 456, "conv2": 2_416, "fc1": 48_120, "fc2": 10_164, "fc3": 850}
    assert sum(counts.values()) == 62_006
    assert [layer["inputs"] for layer in layers[1:]] == [[layer["name"]] for layer in layers[:-1]]
    assert layers[0]["inputs"] == ["input"]
    assert layers[1]["size"]["height"] == {"n": 32, "p": 0, "f": 5, "s": 1, "result": 28}


def test_the_residual_networks_weights_are_all_shown(client: httpx.Client, cat: bytes) -> None:
    body = send(client, cat, model="cifar10-resnet")
    layers = {layer["name"]: layer for layer in body["layers"]}
    card = client.get("/models/cifar10-resnet").json()
    assert sum(layer["parameter_count"] for layer in layers.values()) == card["parameters"]
    convolutions = [f"stages.{stage}.conv{index}" for stage in "012" for index in "123"]
    assert {"stem", "head", *convolutions} <= set(layers)
    assert layers["sum1"]["inputs"] == ["gelu2", "stages.0.conv3"]
    assert layers["pool4"]["title"] == "global max pooling"


@pytest.mark.parametrize("model", [LENET, "cifar10-resnet"])
def test_the_last_layer_is_what_predict_answers(client: httpx.Client, cat: bytes, model: str) -> None:
    numbers = send(client, cat, model=model)["layers"][-1]["numbers"]
    answer = client.post("/predict", files={"file": cat}, params={"model": model, "top_k": 10}).json()
    predicted = {guess["index"]: guess["probability"] for guess in answer["predictions"]}
    assert numbers == pytest.approx([predicted[index] for index in range(10)], abs=0.03)


def test_the_input_is_the_picture_as_prepared(client: httpx.Client, cat: bytes) -> None:
    body = send(client, cat, model=LENET)
    pixels = decode(body["input"]["png"])
    photo = np.array(Image.open(io.BytesIO(cat))).transpose(2, 0, 1)
    prepared = load_model(MODELS / f"{LENET}.pt").prepare(photo).transpose(1, 2, 0)
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - prepared).max() <= 2  # the decoder may scale the photo itself
    again = send(client, b64decode(body["input"]["png"]), model=LENET)
    assert again == body


@pytest.mark.parametrize("model", [LENET, "cifar10-resnet"])
def test_the_strip_gives_the_maps_back_within_half_a_level(
    client: httpx.Client, cat: bytes, model: str
) -> None:
    body = send(client, cat, model=model)
    pixels = decode(body["input"]["png"]).transpose(2, 0, 1)
    outputs = load_model(MODELS / f"{model}.pt").network.run(torch.from_numpy(pixels.copy()))
    shown = 0
    for layer in body["layers"][:-1]:
        output = outputs[layer["name"]].numpy()
        assert layer["output_shape"] == list(output.shape)
        assert layer["minimum"] == pytest.approx(output.min(), rel=1e-5)
        assert layer["maximum"] == pytest.approx(output.max(), rel=1e-5)
        if output.ndim == 1:
            assert layer["numbers"] == pytest.approx(output.tolist(), rel=1e-5)
            continue
        level = (layer["maximum"] - layer["minimum"]) / 255
        assert np.abs(maps_of(layer) - output[:64]).max() <= 0.501 * level, layer["name"]
        shown += 1
    assert shown >= 7


def test_a_black_picture_has_maps_of_one_level_each(client: httpx.Client) -> None:
    black = picture_file(Image.new("RGB", (32, 32)), "PNG")
    layers = send(client, black, model=LENET)["layers"]
    scaled = layers[0]
    assert scaled["minimum"] == scaled["maximum"] == -1
    assert (decode(scaled["maps"]["png"]) == 0).all()
    assert (maps_of(layers[1]) == maps_of(layers[1])[:, :1, :1]).all()


def test_at_most_64_maps_of_at_most_64_cells_a_side_are_shown(serve: Serve, tmp_path: Path) -> None:
    write_weird(tmp_path / "large.pt", Large(), side=224)
    client = serve(models_dir=tmp_path, batch_size=1)
    data = picture_file(Image.fromarray(skimage.data.chelsea()), "PNG")
    body = send(client, data)
    conv = next(layer for layer in body["layers"] if layer["name"] == "conv")
    assert conv["output_shape"] == [80, 224, 224]
    assert {key: conv["maps"][key] for key in ("count", "height", "width")} == {
        "count": 64,
        "height": 64,
        "width": 64,
    }
    # Averaged down: 224 = 64 · 3.5, so every seventh row of cells starts afresh with every second of maps.
    pixels = torch.from_numpy(decode(body["input"]["png"]).transpose(2, 0, 1).copy())
    output = load_model(tmp_path / "large.pt").network.run(pixels)["conv"].numpy()
    level = (conv["maximum"] - conv["minimum"]) / 255
    assert maps_of(conv)[:, 0, 0] == pytest.approx(output[:64, :4, :4].mean((1, 2)), abs=0.51 * level)


def test_maps_are_left_out_when_not_wanted(client: httpx.Client, cat: bytes) -> None:
    full, brief = (send(client, cat, model=LENET, maps=maps) for maps in ("true", "false"))
    conv = brief["layers"][1]
    assert "maps" in full["layers"][1]
    assert "maps" not in conv
    assert conv["output_shape"] == [6, 28, 28]


def test_a_model_of_one_channel_is_shown(serve: Serve, tmp_path: Path, cat: bytes) -> None:
    write_weird(tmp_path / "grey.pt", Grey(), channels=1)
    body = send(serve(models_dir=tmp_path), cat)
    assert body["input"]["output_shape"] == [1, 16, 16]
    assert decode(body["input"]["png"]).shape == (16, 16)
    assert maps_of(body["layers"][0]).shape == (1, 16, 16)


def test_what_follows_a_split_is_shown(serve: Serve, tmp_path: Path, cat: bytes) -> None:
    write_weird(tmp_path / "chunks.pt", Chunks())
    client = serve(models_dir=tmp_path)
    layers = {layer["name"]: layer for layer in send(client, cat)["layers"]}
    assert [layers[name]["kind"] for name in ("part1", "part2")] == ["other", "other"]
    assert layers["part2"]["inputs"] == ["conv"]
    assert layers["second"]["inputs"] == ["part2"]
    cell = client.post("/layers/second", files={"file": cat}, params={"channel": 1, "row": 3}).json()
    part = client.post("/layers/part2", files={"file": cat}, params={"channel": 1, "row": 3}).json()
    assert np.ravel(cell["window"])[1] == part["value"]
    assert cell["sum"] + cell["bias"] == pytest.approx(cell["value"], rel=1e-4, abs=1e-6)


def test_a_cell_of_a_convolution_is_the_sum_of_its_products(client: httpx.Client, cat: bytes) -> None:
    pixels = decode(send(client, cat, model=LENET)["input"]["png"]).transpose(2, 0, 1) / 127.5 - 1
    cell = ask(client, cat, "conv1", channel=4, row=20, column=7).json()
    assert {key: cell[key] for key in ("model", "layer", "kind", "inputs", "channel", "row", "column")} == {
        "model": LENET,
        "layer": "conv1",
        "kind": "convolution",
        "inputs": ["scale1"],
        "channel": 4,
        "row": 20,
        "column": 7,
    }
    window, weights = np.array(cell["window"]), np.array(cell["filter"])
    assert window == pytest.approx(pixels[:, 20:25, 7:12], abs=1e-5)
    assert cell["sums"] == pytest.approx((window * weights).sum((1, 2)), abs=1e-4)
    assert cell["sum"] + cell["bias"] == pytest.approx(cell["value"], abs=1e-4)
    assert cell["place"] == {"channel": 0, "top": 20, "left": 7, "height": 5, "width": 5}
    learned = client.get(f"/models/{LENET}/filters").json()["filters"]
    assert weights == pytest.approx(np.array(learned[4]), rel=1e-4, abs=1e-6)


def test_padding_is_null_in_a_window(client: httpx.Client, cat: bytes) -> None:
    cell = ask(client, cat, "stages.0.conv1", model="cifar10-resnet", channel=63, row=0, column=30).json()
    window = np.array(cell["window"], object)
    assert window.shape == (24, 3, 3)
    padded = np.equal(window, None)
    assert padded[:, 0].all()
    assert padded[:, :, 2].all()
    assert not padded[:, 1:, :2].any()
    assert (cell["place"]["top"], cell["place"]["left"]) == (-1, 29)
    products = np.where(padded, 0, window).astype(float) * np.array(cell["filter"])
    assert products.sum() + cell["bias"] == pytest.approx(cell["value"], rel=1e-3, abs=1e-3)


def test_a_cell_of_a_pooling_is_the_largest_it_looks_at(client: httpx.Client, cat: bytes) -> None:
    cell = ask(client, cat, "pool1", channel=3, row=5, column=13).json()
    assert np.shape(cell["window"]) == (2, 2)
    assert np.max(cell["window"]) == cell["value"]
    below = ask(client, cat, "relu1", channel=3, row=11, column=27).json()
    assert cell["window"][1][1] == below["value"]


def test_a_flattened_number_says_where_it_came_from(client: httpx.Client, cat: bytes) -> None:
    cell = ask(client, cat, "flatten1", channel=3 * 25 + 2 * 5 + 4).json()
    assert cell["place"] == {"channel": 3, "top": 2, "left": 4}
    assert cell["window"] == [cell["value"]]
    assert ask(client, cat, "pool2", channel=3, row=2, column=4).json()["value"] == cell["value"]


def test_a_fully_connected_number_comes_from_all_before_it(client: httpx.Client, cat: bytes) -> None:
    cell = ask(client, cat, "fc3", channel=9).json()
    window, weights = np.array(cell["window"]), np.array(cell["filter"])
    assert len(window) == len(weights) == 84
    assert (window * weights).sum() + cell["bias"] == pytest.approx(cell["value"], abs=1e-3)


@pytest.mark.parametrize(
    ("layer", "query", "says", "field"),
    [
        ("conv1", {"channel": 6}, "channel is 6; this layer has 6", "channel"),
        ("conv1", {"row": 28}, "row is 28; this layer has 28", "row"),
        ("pool2", {"column": 5}, "column is 5; this layer has 5", "column"),
        ("fc3", {"channel": 10}, "channel is 10; this layer has 10", "channel"),
        ("fc3", {"channel": 10**30}, "this layer has 10", "channel"),
        ("conv1", {"channel": -1}, "", "channel"),
        ("conv1", {"row": "1.5"}, "", "row"),
        ("conv1", {"column": "many"}, "", "column"),
        ("conv1", {"colum": 1}, "channel, row, column", "colum"),
        ("conv9", {}, "there is no layer 'conv9'; the layers are scale1, conv1", "layer"),
        ("c" * 300, {}, "", "layer"),
    ],
)
def test_a_cell_that_is_not_there_is_refused_with_what_there_is(
    client: httpx.Client, cat: bytes, layer: str, query: dict[str, object], says: str, field: str
) -> None:
    problem = assert_problem(ask(client, cat, layer, **query), 422, says)
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("path", ["/layers", "/layers/conv1", "/explain"])
def test_what_cannot_be_looked_at_is_refused(client: httpx.Client, cat: bytes, path: str) -> None:
    def post(data: bytes, kind: str = "image/jpeg", **query: str) -> httpx.Response:
        return client.post(path, files={"file": ("x", data, kind)}, params=query)

    assert_problem(post(cat, model="nope"), 404, "no model 'nope'")
    assert_problem(post(b"not a picture"), 400, "not a JPEG")
    assert_problem(post(b""), 400, "empty")
    assert_problem(post(cat[: len(cat) // 2]), 400, "damaged")
    assert_problem(post(cat, kind="text/plain"), 415, "text/plain")
    assert_problem(post(cat, labl="cat"), 422, "labl")
    assert_problem(client.get(path), 405)


def test_the_raw_body_is_answered_as_the_upload(client: httpx.Client, cat: bytes) -> None:
    raw = client.post("/layers", content=cat, params={"model": LENET}, headers={"Content-Type": "image/jpeg"})
    assert raw.json() == send(client, cat, model=LENET)
    stages = [part.split(";")[0] for part in raw.headers["Server-Timing"].split(", ")]
    assert stages == ["decode", "infer", "total"]


def test_many_at_once_are_each_answered_their_own(client: httpx.Client, cat: bytes) -> None:
    pictures = [picture_file(Image.new("RGB", (32, 32), (n, 255 - n, 90)), "PNG") for n in range(0, 240, 60)]
    alone = [send(client, data, model=LENET) for data in pictures]
    assert len({str(body["layers"][-1]["numbers"]) for body in alone}) == len(pictures)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: send(client, pictures[n % 4], model=LENET), range(24)))
    for n, body in enumerate(together):
        assert body == alone[n % 4]


def test_every_query_parameter_is_documented(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    documented = {
        path: {(one["in"], one["name"]) for one in paths[path]["post"]["parameters"]}
        for path in ("/layers", "/layers/{layer}", "/explain")
    }
    assert documented["/layers"] == {("query", "model"), ("query", "maps")}
    assert documented["/layers/{layer}"] == {
        ("path", "layer"),
        *(("query", name) for name in ("model", "channel", "row", "column")),
    }
    assert documented["/explain"] == {("query", name) for name in ("model", "method", "label", "format")}
