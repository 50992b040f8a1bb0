"""A stock Triton client works unchanged: tensors as JSON, as bytes, compressed; classes; errors."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from service.model import load_model
from tests.conftest import MODELS, picture_file

Serve = Callable[..., httpx.Client]
MODEL = "cifar10-lenet"
PICTURES = np.random.default_rng(6).integers(0, 256, (5, 3, 32, 32), np.uint8)


@pytest.fixture
def triton(client: httpx.Client) -> Iterator[InferenceServerClient]:
    """NVIDIA's client, connected to the service."""
    with InferenceServerClient(f"{client.base_url.host}:{client.base_url.port}") as connected:
        yield connected


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float64]:
    """What the model itself makes of the pictures, N×classes."""
    return load_model(MODELS / f"{MODEL}.pt").classify(list(PICTURES))


def tensor(pictures: NDArray[np.uint8], binary: bool) -> list[InferInput]:
    given = InferInput("images", list(pictures.shape), "UINT8")
    given.set_data_from_numpy(pictures, binary_data=binary)
    return [given]


def wanted(binary: bool, classes: int = 0) -> list[InferRequestedOutput]:
    return [InferRequestedOutput("probabilities", binary_data=binary, class_count=classes)]


def test_the_client_sees_a_server_that_is_alive_and_ready(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(MODEL)
    assert triton.is_model_ready(MODEL, "1.0.0")
    assert not triton.is_model_ready("nope")
    assert not triton.is_model_ready(MODEL, "2")
    assert {"binary_tensor_data", "classification"} <= set(triton.get_server_metadata()["extensions"])
    assert triton.get_model_metadata(MODEL)["inputs"][0]["shape"] == [-1, 3, 32, 32]


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_pictures_go_in_and_probabilities_come_out(
    triton: InferenceServerClient, expected: NDArray[np.float64], binary_in: bool, binary_out: bool
) -> None:
    result = triton.infer(MODEL, tensor(PICTURES, binary_in), outputs=wanted(binary_out), request_id="7")
    given = result.as_numpy("probabilities")
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, atol=1e-5)
    assert result.get_response()["id"] == "7"


def test_without_outputs_named_the_client_gets_all_of_them_as_bytes(
    triton: InferenceServerClient, expected: NDArray[np.float64]
) -> None:
    result = triton.infer(MODEL, tensor(PICTURES, binary=True))
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)
    assert result.get_output("probabilities")["parameters"] == {"binary_data_size": 5 * 10 * 4}


@pytest.mark.parametrize("binary", [False, True])
def test_classes_come_as_value_index_and_label(
    triton: InferenceServerClient, client: httpx.Client, expected: NDArray[np.float64], binary: bool
) -> None:
    labels = client.get(f"/models/{MODEL}").json()["labels"]
    result = triton.infer(MODEL, tensor(PICTURES, binary=True), outputs=wanted(binary, classes=3))
    given = result.as_numpy("probabilities")
    assert given.shape == (5, 3)
    for row, probabilities in zip(given, expected, strict=True):
        texts = [text.decode() if isinstance(text, bytes) else text for text in row]
        order = np.argsort(-probabilities)[:3]
        assert [text.split(":")[1:] for text in texts] == [[str(i), labels[i]] for i in order]
        values = [text.split(":")[0] for text in texts]
        assert all(len(value.partition(".")[2]) == 6 for value in values)
        np.testing.assert_allclose([float(value) for value in values], probabilities[order], atol=1e-5)


def test_more_classes_than_there_are_give_all_of_them(triton: InferenceServerClient) -> None:
    result = triton.infer(MODEL, tensor(PICTURES, binary=True), outputs=wanted(True, classes=99))
    assert result.as_numpy("probabilities").shape == (5, 10)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request_is_unpacked(
    triton: InferenceServerClient, expected: NDArray[np.float64], algorithm: str
) -> None:
    for binary in (False, True):
        result = triton.infer(MODEL, tensor(PICTURES, binary), request_compression_algorithm=algorithm)
        np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)


def test_more_pictures_than_a_batch_or_the_queue_holds_are_answered_in_order(serve: Serve) -> None:
    pictures = np.random.default_rng(7).integers(0, 256, (300, 3, 32, 32), np.uint8)
    model = load_model(MODELS / f"{MODEL}.pt")
    small = serve(queue_length=8, batch_size=4)
    with InferenceServerClient(f"{small.base_url.host}:{small.base_url.port}") as triton:
        for binary in (False, True):  # as JSON more than is read at once, and more than a worker's small work
            result = triton.infer(MODEL, tensor(pictures, binary))
            given = result.as_numpy("probabilities")
            np.testing.assert_allclose(given, model.classify(list(pictures)), atol=1e-5)


def test_the_client_reads_what_is_wrong(triton: InferenceServerClient) -> None:
    small = tensor(PICTURES[:, :, :16], binary=True)
    with pytest.raises(InferenceServerException, match=r"\[5,3,16,32\]; the model takes \[-1, 3, 32, 32\]"):
        triton.infer(MODEL, small)
    with pytest.raises(InferenceServerException, match="no model 'nope'"):
        triton.infer("nope", tensor(PICTURES, binary=True))
    with pytest.raises(InferenceServerException, match="no version '3'"):
        triton.infer(MODEL, tensor(PICTURES, binary=True), model_version="3")
    with pytest.raises(InferenceServerException, match="'probabilities'"):
        triton.infer(MODEL, tensor(PICTURES, binary=True), outputs=[InferRequestedOutput("logits")])


def test_numbers_may_be_nested_as_the_shape_is(client: httpx.Client, expected: NDArray[np.float64]) -> None:
    data: Any
    for data in (PICTURES.tolist(), PICTURES.reshape(-1).tolist()):
        given = {"name": "images", "shape": [5, 3, 32, 32], "datatype": "UINT8", "data": data}
        answer = client.post(f"/v2/models/{MODEL}/infer", json={"inputs": [given], "outputs": []})
        output = answer.json()["outputs"][0]
        np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), expected, atol=1e-5)


def test_pixels_may_be_the_whole_body(client: httpx.Client, expected: NDArray[np.float64]) -> None:
    answer = client.post(
        f"/v2/models/{MODEL}/infer",
        content=PICTURES.tobytes(),
        headers={"Inference-Header-Content-Length": "0"},
    )
    assert answer.status_code == 200
    length = int(answer.headers["Inference-Header-Content-Length"])
    given = np.frombuffer(answer.content[length:], np.float32).reshape(5, 10)
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_predict_and_infer_agree(client: httpx.Client, cat: bytes) -> None:
    """A picture that is the model's input already is the same picture either way."""
    pixels = PICTURES[0]
    file = picture_file(Image.fromarray(pixels.transpose(1, 2, 0)), "PNG")
    predicted = client.post(f"/predict?model={MODEL}&top_k=10", files={"file": file}).json()["predictions"]
    answer = client.post(
        f"/v2/models/{MODEL}/infer",
        content=pixels.tobytes(),
        headers={"Inference-Header-Content-Length": "0"},
    )
    length = int(answer.headers["Inference-Header-Content-Length"])
    given = np.frombuffer(answer.content[length:], np.float32)
    for guess in predicted:
        assert given[guess["index"]] == pytest.approx(guess["probability"], abs=1e-6)
