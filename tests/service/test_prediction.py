"""POST /predict and /predict/batch over real HTTP, with real pictures and the committed model."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from service.serving import SMALL_BYTES, Served
from tests.answers import assert_problem
from tests.artefacts import Brightness, write_artefact
from tests.conftest import picture_file

Serve = Callable[..., httpx.Client]


def send(
    client: httpx.Client, data: bytes, name: str = "cat.jpg", kind: str = "image/jpeg", **query: object
) -> httpx.Response:
    return client.post("/predict", files={"file": (name, data, kind)}, params=query)


def test_a_photo_gets_labelled_probabilities_in_falling_order(client: httpx.Client, cat: bytes) -> None:
    answer = send(client, cat, top_k=10)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"model", "version", "predictions"}
    probabilities = [guess["probability"] for guess in body["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    labels = client.get(f"/models/{body['model']}").json()["labels"]
    assert [labels[guess["index"]] for guess in body["predictions"]] == [
        g["label"] for g in body["predictions"]
    ]
    assert len({guess["index"] for guess in body["predictions"]}) == 10


def test_the_raw_body_is_answered_as_the_multipart_upload(client: httpx.Client, cat: bytes) -> None:
    expected = send(client, cat).json()
    for kind in ("image/jpeg", "application/octet-stream", "IMAGE/JPEG; x=y"):
        assert client.post("/predict", content=cat, headers={"Content-Type": kind}).json() == expected


def test_five_classes_are_answered_unless_asked_otherwise(client: httpx.Client, cat: bytes) -> None:
    assert len(send(client, cat).json()["predictions"]) == 5
    assert len(send(client, cat, top_k=1).json()["predictions"]) == 1


def test_the_model_sees_a_turned_photo_upright(client: httpx.Client) -> None:
    photo = Image.fromarray(skimage.data.chelsea())
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright
    turned = picture_file(photo.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    assert send(client, turned).json() == send(client, picture_file(photo, "PNG")).json()


@pytest.mark.parametrize(
    ("mode", "form"),
    [(mode, form) for mode in ("L", "LA", "P", "RGBA", "I;16", "1") for form in ("PNG", "TIFF")]
    + [("CMYK", "JPEG"), ("CMYK", "TIFF")],
)
def test_every_colour_mode_is_answered(client: httpx.Client, mode: str, form: str) -> None:
    photo = Image.fromarray(skimage.data.chelsea())
    if mode == "I;16":
        photo = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    else:
        photo = photo.convert(mode)
    assert send(client, picture_file(photo, form)).status_code == 200


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_is_answered(client: httpx.Client, form: str) -> None:
    data = picture_file(Image.fromarray(skimage.data.rocket()), form)
    assert send(client, data, name="rocket", kind="application/octet-stream").status_code == 200


@pytest.mark.parametrize(
    ("data", "kind", "status", "says"),
    [
        (b"not a picture", "image/jpeg", 400, "not a JPEG"),
        (b"", "image/png", 400, "empty"),
        (b"not a picture", "text/plain", 415, "text/plain"),
        (b"<svg/>", "image/svg+xml", 415, "image/svg+xml"),
    ],
)
def test_what_is_no_picture_is_refused(
    client: httpx.Client, data: bytes, kind: str, status: int, says: str
) -> None:
    assert_problem(send(client, data, kind=kind), status, says)


def test_a_truncated_photo_is_refused(client: httpx.Client, cat: bytes) -> None:
    assert_problem(send(client, cat[: len(cat) // 2]), 400, "damaged")


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"top_k": 0}, 422, "top_k"),
        ({"top_k": 11}, 422, "top_k"),
        ({"top_k": "many"}, 422, "top_k"),
        ({"topk": 3}, 422, "topk"),
        ({"model": "nope"}, 404, None),
    ],
)
def test_a_wrong_query_names_the_field(
    client: httpx.Client, cat: bytes, query: dict[str, object], status: int, field: str | None
) -> None:
    problem = assert_problem(send(client, cat, **query), status)
    if field:
        assert [error["field"] for error in problem["errors"]] == [field]


def test_a_missing_picture_names_the_field(client: httpx.Client, cat: bytes) -> None:
    for answer in (
        client.post("/predict", files={"picture": ("cat.jpg", cat)}),
        client.post("/predict", data={"file": "cat"}, files={"other": b""}),
        client.post("/predict"),
    ):
        assert assert_problem(answer, 422)["errors"][0]["field"] == "file"


def test_a_form_that_is_no_form_is_malformed(client: httpx.Client) -> None:
    answer = client.post(
        "/predict", content=b"xx", headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code in {400, 422}
    answer = client.post("/predict", content=b"xx", headers={"Content-Type": "multipart/form-data"})
    assert_problem(answer, 400)


def test_too_many_pixels_are_refused_with_the_limit(serve: Serve) -> None:
    client = serve(max_pixels=10_000)
    data = picture_file(Image.new("RGB", (101, 100)), "PNG")
    assert_problem(send(client, data), 413, "101×100")
    assert send(client, picture_file(Image.new("RGB", (100, 100)), "PNG")).status_code == 200


def test_too_many_bytes_are_refused_declared_or_streamed(serve: Serve) -> None:
    client = serve(max_body_bytes=1000)
    headers = {"Content-Type": "image/png"}
    assert_problem(client.post("/predict", content=b"x" * 1001, headers=headers), 413, "1,000 bytes")
    chunks = (b"x" * 300 for _ in range(10))
    assert_problem(client.post("/predict", content=chunks, headers=headers), 413, "1,000 bytes")
    assert_problem(client.post("/predict", content=b"x" * 1000, headers=headers), 400)


def test_one_bad_picture_does_not_fail_its_batch(client: httpx.Client, cat: bytes) -> None:
    rocket = picture_file(Image.fromarray(skimage.data.rocket()), "PNG")
    files = [
        ("cat.jpg", cat, "image/jpeg"),
        ("notes.txt", b"hi", "text/plain"),
        ("rocket.png", rocket, "image/png"),
    ]
    answer = client.post("/predict/batch", files=[("files", file) for file in files], params={"top_k": 2})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["filename"] for result in results] == ["cat.jpg", "notes.txt", "rocket.png"]
    assert len(results[0]["predictions"]) == 2
    assert results[1]["error"]["status"] == 415
    assert "predictions" not in results[1]
    assert len(results[2]["predictions"]) == 2


def test_a_batch_answers_what_single_requests_answer(client: httpx.Client, cat: bytes) -> None:
    pictures = [cat, picture_file(Image.fromarray(skimage.data.coffee()), "PNG")]
    answer = client.post("/predict/batch", files=[("files", (str(i), p)) for i, p in enumerate(pictures)])
    for result, picture in zip(answer.json()["results"], pictures, strict=True):
        alone = send(client, picture).json()["predictions"]
        assert [guess["label"] for guess in result["predictions"]] == [guess["label"] for guess in alone]
        assert [guess["probability"] for guess in result["predictions"]] == pytest.approx(
            [guess["probability"] for guess in alone],
            abs=1e-2,  # bfloat16, where the processor has it
        )


def test_a_batch_without_pictures_or_with_too_many_is_refused(serve: Serve, cat: bytes) -> None:
    client = serve(max_files=2)
    assert_problem(client.post("/predict/batch", files={"file": cat}), 422, "files")
    assert_problem(client.post("/predict/batch", content=cat, headers={"Content-Type": "image/png"}), 415)
    for count in (3, 4, 10):
        answer = client.post("/predict/batch", files=[("files", ("a.jpg", cat))] * count)
        assert_problem(answer, 413, "more than 2 files, the limit")
    assert client.post("/predict/batch", files=[("files", ("a.jpg", cat))] * 2).status_code == 200


def test_a_picture_sent_twice_is_refused(client: httpx.Client, cat: bytes) -> None:
    answer = client.post("/predict", files=[("file", ("a.jpg", cat)), ("file", ("b.jpg", cat))])
    assert assert_problem(answer, 422, "twice")["errors"][0]["field"] == "file"


def test_a_batch_longer_than_the_queue_is_answered(serve: Serve, cat: bytes) -> None:
    client = serve(queue_length=2, threads=1)
    answer = client.post("/predict/batch", files=[("files", ("a.jpg", cat))] * 20)
    assert answer.status_code == 200, answer.text
    assert all("predictions" in result for result in answer.json()["results"])
    stages = [part.split(";")[0] for part in answer.headers["Server-Timing"].split(", ")]
    assert stages == ["decode", "queue", "infer", "total"]


def test_a_request_chooses_among_models(serve: Serve, tmp_path: Path) -> None:
    for name in ("night", "day"):
        write_artefact(tmp_path / f"{name}.pt")
    client = serve(models_dir=tmp_path, default_model="night")
    white = picture_file(Image.new("RGB", (9, 7), "white"), "PNG")
    answer = send(client, white).json()
    assert (answer["model"], answer["version"]) == ("night", "1.2.3")
    assert [guess["label"] for guess in answer["predictions"]] == ["bright", "dark"]
    assert answer["predictions"][0]["probability"] == pytest.approx(1 / (1 + np.exp(-6)))
    assert send(client, white, model="day").json()["model"] == "day"
    assert len(send(client, white).json()["predictions"]) == 2  # fewer classes than the default top_k


@pytest.mark.parametrize(
    ("names", "default"), [(("zebra", "ant"), "ant"), (("ant", "cifar10-resnet"), "cifar10-resnet")]
)
def test_without_a_word_the_shipped_model_answers_or_the_first_by_name(
    serve: Serve, tmp_path: Path, names: tuple[str, ...], default: str
) -> None:
    for name in names:
        write_artefact(tmp_path / f"{name}.pt")
    client = serve(models_dir=tmp_path)
    assert client.get("/models").json()["default"] == default
    white = picture_file(Image.new("RGB", (9, 7), "white"), "PNG")
    assert send(client, white).json()["model"] == default


def test_transparency_is_seen_on_white(serve: Serve, tmp_path: Path) -> None:
    write_artefact(tmp_path / "light.pt")
    client = serve(models_dir=tmp_path)
    clear = picture_file(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG")
    assert send(client, clear).json()["predictions"][0]["label"] == "bright"


def test_many_at_once_are_each_answered_their_own(serve: Serve, tmp_path: Path) -> None:
    write_artefact(tmp_path / "light.pt")
    client = serve(models_dir=tmp_path, batch_size=8)
    shades = [picture_file(Image.new("L", (5, 5), shade), "PNG") for shade in range(0, 256, 4)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda data: send(client, data).json(), shades))
    bright = [next(g["probability"] for g in a["predictions"] if g["label"] == "bright") for a in answers]
    expected = [1 / (1 + np.exp(-6 * (shade / 127.5 - 1))) for shade in range(0, 256, 4)]
    assert bright == pytest.approx(expected, abs=1e-5)


def test_every_answer_carries_an_id_and_its_stages(client: httpx.Client, cat: bytes) -> None:
    answer = client.post("/predict", files={"file": cat}, headers={"X-Request-ID": "abc-123"})
    assert answer.headers["X-Request-ID"] == "abc-123"
    stages = [part.split(";")[0] for part in answer.headers["Server-Timing"].split(", ")]
    assert stages == ["decode", "queue", "infer", "total"]
    for bad in ("a b", "x" * 200, "é".encode(), ""):
        made = client.get("/health/live", headers={"X-Request-ID": bad}).headers["X-Request-ID"]
        assert made != bad
        assert len(made) == 32


def test_a_small_file_that_takes_long_holds_nobody_up(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few bytes, but much to unpack or many pixels: decoded by a worker, not within the model's batch."""
    write_artefact(tmp_path / "light.pt")
    client = serve(models_dir=tmp_path)
    within, decode_small = [], Served.decode_small
    monkeypatch.setattr(
        Served, "decode_small", lambda self, data: within.append(data) or decode_small(self, data)
    )
    texts = PngInfo()
    texts.add_text("note", "a" * 10**6, zip=True)
    slow = picture_file(Image.new("RGB", (128, 128)), "PNG", pnginfo=texts)
    bitmap = picture_file(Image.new("P", (64, 64)), "BMP")
    for data in (slow, bitmap):
        assert len(data) < SMALL_BYTES
        assert send(client, data, kind="application/octet-stream").status_code == 200
    assert not within
    plain, large = (picture_file(Image.new("RGB", (side, side)), "PNG") for side in (32, 1000))
    assert send(client, plain).status_code == 200
    assert send(client, large).status_code == 200  # tried within a batch, given to a worker
    assert within == [plain, large]


class Touchy(Brightness):
    """Fails on pictures whose mean is 7."""

    def forward(self, images: Tensor) -> Tensor:
        if bool((images.float().mean((1, 2, 3)) == 7).any()):
            raise RuntimeError("not this one")
        return self.layer(images.float() / 127.5 - 1).mean((2, 3))


def test_a_picture_that_the_model_fails_on_does_not_fail_its_batch(serve: Serve, tmp_path: Path) -> None:
    write_artefact(tmp_path / "touchy.pt", Touchy())
    client = serve(models_dir=tmp_path)

    def labels(*levels: int) -> list[str]:
        pictures = [picture_file(Image.new("RGB", (4, 4), (level,) * 3), "PNG") for level in levels]
        answer = client.post("/predict/batch?top_k=1", files=[("files", one) for one in pictures])
        assert answer.status_code == 200
        return [
            one["predictions"][0]["label"] if "predictions" in one else one["error"]["title"]
            for one in answer.json()["results"]
        ]

    failed = "Internal error"
    assert labels(0, 7, 255, 250, 7, 3) == ["dark", failed, "bright", "bright", failed, "dark"]
    seven = picture_file(Image.new("RGB", (4, 4), (7, 7, 7)), "PNG")
    assert_problem(client.post("/predict/batch", files={"files": seven}), 500, "internal error")
    assert labels(0) == ["dark"], "well again"


class OddOnes(Brightness):
    """Gives NaN for bright pictures."""

    def forward(self, images: Tensor) -> Tensor:
        means = self.layer(images.float() / 127.5 - 1).mean((2, 3))
        return torch.where(means[:, 1:] > 0, torch.full_like(means, float("nan")), means)


def test_a_model_that_gives_no_number_for_one_picture_answers_the_others(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "service")
    write_artefact(tmp_path / "odd.pt", OddOnes())
    client = serve(models_dir=tmp_path)
    dark, bright = (picture_file(Image.new("RGB", (4, 4), name), "PNG") for name in ("black", "white"))
    assert_problem(client.post("/predict", files={"file": bright}), 500)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda one: client.post("/predict", files={"file": one}), [dark, bright] * 8)
    assert [answer.status_code for answer in answers] == [200, 500] * 8
    assert "NaN" not in client.get("/metrics").text


def test_a_batch_whose_turn_comes_too_late_is_refused_as_a_whole(
    serve: Serve, cat: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify = Served.classify
    monkeypatch.setattr(Served, "classify", lambda *given: time.sleep(0.3) or classify(*given))
    client = serve(queue_timeout_s=0.1, batch_size=1)
    with ThreadPoolExecutor(4) as pool:
        files = [("files", cat)] * 2
        answers = list(pool.map(lambda _: client.post("/predict/batch", files=files), range(4)))
    late = [answer for answer in answers if answer.status_code != 200]
    assert late, "one batch at a time, of 0.3 s each"
    for answer in late:
        assert_problem(answer, 503, "the limit is 0.1 s")
        assert int(answer.headers["Retry-After"]) >= 1
    assert f'stride_refusals_total{{reason="queue-timeout"}} {len(late)}.0' in client.get("/metrics").text
