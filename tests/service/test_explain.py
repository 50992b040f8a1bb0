"""POST /explain over real HTTP: the heat lies where the network looks, as a picture or as numbers."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import skimage.data
from PIL import Image

from tests.answers import assert_problem
from tests.artefacts import Brightness, Flat, Grey, LeftHalf, write_weird
from tests.conftest import picture_file

Serve = Callable[..., httpx.Client]
Heat = np.ndarray[Any, np.dtype[np.float64]]
LENET, RESNET = "cifar10-lenet", "cifar10-resnet"
HALVES = {
    "left": np.s_[:, :16],
    "right": np.s_[:, 16:],
    "top": np.s_[:16, :],
    "bottom": np.s_[16:, :],
}
CORNERS = {"left": (0, 8), "right": (16, 8), "top": (8, 0), "bottom": (8, 16)}  # x, y of a 16×16 face


def ask(client: httpx.Client, data: bytes, **query: object) -> httpx.Response:
    return client.post("/explain", files={"file": data}, params=query)


def explain(client: httpx.Client, data: bytes, **query: object) -> dict[str, Any]:
    answer = ask(client, data, format="json", **query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def heat_of(client: httpx.Client, data: bytes, **query: object) -> Heat:
    return np.array(explain(client, data, **query)["heat"], float)


def share(heat: Heat, half: str) -> float:
    """Give how much of what speaks for a class lies in a half."""
    positive = np.maximum(heat, 0)
    found: float = positive[HALVES[half]].sum() / positive.sum()
    return found


def face_at(half: str) -> bytes:
    """A cat's face, 16×16, on one side of a grey 32×32 picture."""
    canvas = Image.new("RGB", (32, 32), (128, 128, 128))
    face = Image.fromarray(skimage.data.chelsea()[20:260, 95:335]).resize((16, 16), Image.Resampling.LANCZOS)
    canvas.paste(face, CORNERS[half])
    return picture_file(canvas, "PNG")


def opened(answer: httpx.Response) -> Image.Image:
    assert answer.headers["Content-Type"] == "image/png"
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(("model", "method"), [(RESNET, "grad-cam"), (RESNET, "occlusion")])
def test_the_heat_lies_on_the_object(client: httpx.Client, model: str, method: str, half: str) -> None:
    heat = heat_of(client, face_at(half), model=model, method=method, label="cat")
    assert share(heat, half) > 0.7


@pytest.mark.parametrize("method", ["hires-cam", "occlusion"])
def test_the_small_networks_heat_lies_on_the_object_mostly(client: httpx.Client, method: str) -> None:
    shares = [
        share(heat_of(client, face_at(half), model=LENET, method=method, label="cat"), half)
        for half in HALVES
    ]
    assert sum(part > 0.5 for part in shares) >= 3
    assert np.mean(shares) > 0.55


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "occlusion"])
def test_what_the_network_does_not_look_at_is_cold(serve: Serve, tmp_path: Path, method: str) -> None:
    write_weird(tmp_path / "left.pt", LeftHalf())
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[4:8, 2:6] = 255  # what makes it bright
    pixels[8:14, 10:16] = 255
    client = serve(models_dir=tmp_path)
    data = picture_file(Image.fromarray(pixels), "PNG")
    body = explain(client, data, label="bright", method=method)
    heat = np.array(body["heat"], float)
    assert heat.shape == (16, 16)
    assert (heat[:, 11 if method == "occlusion" else 8 :] == 0).all()  # a patch of 4 lies across the middle
    assert heat[:, :8].max() == body["maximum"] > 0
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (4 <= row < 8, 2 <= column < 6) == (True, True)
    if method == "occlusion":  # hiding what is dark helps this class: that speaks against it
        assert heat.min() < 0
        dark = heat_of(client, data, label="dark", method=method)
        assert dark == pytest.approx(-heat, abs=1e-5)


def test_the_class_asked_about_is_the_likeliest_unless_another_is_named(
    client: httpx.Client, cat: bytes
) -> None:
    predicted = client.post("/predict", files={"file": cat}, params={"model": RESNET, "top_k": 10}).json()
    likely = {guess["label"]: guess for guess in predicted["predictions"]}
    for method in ("grad-cam", "occlusion"):
        body = explain(client, cat, model=RESNET, method=method)
        assert (body["model"], body["method"]) == (RESNET, method)
        assert body["label"] == predicted["predictions"][0]["label"]
        assert body["probability"] == pytest.approx(likely[body["label"]]["probability"], abs=0.03)
        assert ("layer" in body) == (method == "grad-cam")
    heats = set()
    for label in client.get(f"/models/{RESNET}").json()["labels"]:
        body = explain(client, cat, model=RESNET, label=label)
        assert (body["label"], body["index"]) == (label, likely[label]["index"])
        assert np.isfinite(np.array(body["heat"], float)).all()
        heats.add(str(body["heat"]))
    assert len(heats) == 10


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "occlusion"])
@pytest.mark.parametrize("model", [LENET, RESNET])
def test_numbers_are_a_matrix_of_the_prepared_picture(
    client: httpx.Client, cat: bytes, model: str, method: str
) -> None:
    body = explain(client, cat, model=model, method=method)
    heat = np.array(body["heat"], float)
    assert heat.shape == tuple(body["shape"]) == (32, 32)
    assert (body["minimum"], body["maximum"]) == (heat.min(), heat.max())
    assert np.isfinite(heat).all()


def test_the_picture_is_drawn_pixel_sharp_and_large_enough(client: httpx.Client) -> None:
    answer = ask(client, face_at("left"), model=RESNET)
    with opened(answer) as drawn:
        assert drawn.size == (256, 256)
        pixels = np.asarray(drawn.convert("RGB"), int)
    # Where nothing speaks for the class the picture is grey and darkened; where most does, it is coloured.
    heat = heat_of(client, face_at("left"), model=RESNET)
    colour = np.ptp(pixels, axis=2).reshape(32, 8, 32, 8).max((1, 3))
    assert colour[heat > 0.6 * heat.max()].min() > 40
    assert colour[heat == 0].mean() < colour[heat > 0.6 * heat.max()].mean() / 3


@pytest.mark.parametrize(
    ("size", "drawn"), [((451, 300), (300, 300)), ((40, 90), (280, 280)), ((800, 600), (512, 512))]
)
def test_a_photo_is_drawn_as_the_square_the_model_sees(
    client: httpx.Client, size: tuple[int, int], drawn: tuple[int, int]
) -> None:
    photo = Image.fromarray(skimage.data.chelsea()).resize(size)
    with opened(ask(client, picture_file(photo, "PNG"), model=LENET)) as picture:
        assert picture.size == drawn


def test_a_model_that_prepares_in_its_own_way_is_drawn_over_what_it_sees(
    serve: Serve, tmp_path: Path, cat: bytes
) -> None:
    write_weird(tmp_path / "left.pt", LeftHalf())  # squeezes the picture, and cuts nothing
    with opened(ask(serve(models_dir=tmp_path), cat)) as picture:
        assert picture.size == (256, 256)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("RGBA", "PNG"), ("LA", "PNG"), ("L", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("1", "PNG")],
)
def test_every_colour_mode_is_explained(client: httpx.Client, mode: str, form: str) -> None:
    photo = Image.fromarray(skimage.data.chelsea()).convert(mode)
    if mode == "RGBA":
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    data = picture_file(photo, form)
    assert np.isfinite(heat_of(client, data, model=LENET)).all()
    with opened(ask(client, data, model=LENET)) as picture:
        assert picture.size == (300, 300)


def test_a_model_of_one_channel_is_explained(serve: Serve, tmp_path: Path, cat: bytes) -> None:
    write_weird(tmp_path / "grey.pt", Grey(), channels=1)
    client = serve(models_dir=tmp_path)
    for method in ("grad-cam", "hires-cam", "occlusion"):
        assert heat_of(client, cat, method=method).shape == (16, 16)
        with opened(ask(client, cat, method=method)) as picture:
            assert picture.mode == "RGB"


def test_a_network_without_maps_is_told_to_use_occlusion(serve: Serve, tmp_path: Path, cat: bytes) -> None:
    write_weird(tmp_path / "flat.pt", Flat())
    client = serve(models_dir=tmp_path)
    for method in ("grad-cam", "hires-cam"):
        problem = assert_problem(ask(client, cat, method=method), 422, "use method=occlusion")
        assert problem["errors"][0]["field"] == "method"
    assert heat_of(client, cat, method="occlusion").shape == (16, 16)


def test_a_picture_of_one_colour_has_no_warm_place(client: httpx.Client) -> None:
    grey = picture_file(Image.new("RGB", (32, 32), (90, 90, 90)), "PNG")
    heat = heat_of(client, grey, model=LENET, method="occlusion")
    assert np.abs(heat).max() < 1e-6  # every patch is hidden by the very same colour
    with opened(ask(client, grey, model=LENET, method="occlusion")) as picture:
        assert np.ptp(np.asarray(picture)) == 0


def test_tiny_inputs_are_explained(serve: Serve, tmp_path: Path, cat: bytes) -> None:
    write_weird(tmp_path / "bright.pt", Brightness(), side=4)
    client = serve(models_dir=tmp_path)
    for method in ("grad-cam", "hires-cam", "occlusion"):
        assert heat_of(client, cat, method=method).shape == (4, 4)


@pytest.mark.parametrize(
    ("query", "says", "field"),
    [
        ({"label": "unicorn"}, "there is no label 'unicorn'; cifar10-lenet knows airplane", "label"),
        ({"label": ""}, "there is no label ''", "label"),
        ({"method": "lime"}, "", "method"),
        ({"format": "gif"}, "", "format"),
        ({"top_k": 3}, "method, label, format", "top_k"),
    ],
)
def test_a_wrong_query_names_the_field(
    client: httpx.Client, cat: bytes, query: dict[str, object], says: str, field: str
) -> None:
    problem = assert_problem(ask(client, cat, model=LENET, **query), 422, says)
    assert [error["field"] for error in problem["errors"]] == [field]


def test_the_raw_body_is_answered_as_the_upload(client: httpx.Client, cat: bytes) -> None:
    raw = client.post(
        "/explain", content=cat, params={"model": LENET}, headers={"Content-Type": "image/jpeg"}
    )
    assert raw.content == ask(client, cat, model=LENET).content
    stages = [part.split(";")[0] for part in raw.headers["Server-Timing"].split(", ")]
    assert stages == ["decode", "infer", "total"]
