"""Whatever is wrong with a request under /v2 is said in the protocol's own form, with value and limit."""

import gzip
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient

from service.access import new_key
from service.errors import InvalidRequest, ServiceError, ShuttingDown
from service.open_inference.bodies import part
from service.open_inference.numbers import MAX_PIECE_BYTES, PIECE_BYTES, Span, read_numbers
from service.open_inference.requests import read_call

Serve = Callable[..., httpx.Client]
INFER = "/v2/models/cifar10-lenet/infer"
SHAPE = (3, 32, 32)
LENGTH = "Inference-Header-Content-Length"


def request(**changes: Any) -> dict[str, Any]:
    """A good request, with some of its input's fields changed."""
    tensor = {"name": "images", "shape": [1, *SHAPE], "datatype": "UINT8", "data": [9] * 3072} | changes
    return {"inputs": [{name: value for name, value in tensor.items() if value is not None}]}


def binary(size: object = 3072, sent: int = 3072, **head: Any) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request whose tensor follows the JSON."""
    text = json.dumps(request(data=None, parameters={"binary_data_size": size}) | head).encode()
    return text + b"\7" * sent, {LENGTH: str(len(text))}


def assert_refused(answer: httpx.Response, status: int, says: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert "X-Request-ID" in answer.headers
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]


def data_with(value: object) -> list[object]:
    return [9] * 3000 + [value] + [9] * 71


BAD: list[tuple[object, str]] = [
    (request(datatype="FP32"), "inputs[0].datatype is 'FP32'; images is UINT8"),
    (request(datatype=None), "inputs.0.datatype: Field required"),
    (request(datatype=7), "inputs.0.datatype: Input should be a valid string; got 7"),
    (request(shape=[1, 3, 32]), "inputs[0].shape is [1,3,32]; the model takes [-1, 3, 32, 32]"),
    (request(shape=[1, 32, 32, 3]), "the model takes [-1, 3, 32, 32]"),
    (request(shape=[0, 3, 32, 32], data=[]), "inputs[0].shape is [0,3,32,32]"),
    (request(shape=[-1, 3, 32, 32]), "inputs[0].shape is [-1,3,32,32]"),
    (request(shape=[1.5, 3, 32, 32]), "inputs.0.shape.0: Input should be a valid integer"),
    (request(shape=[True, 3, 32, 32]), "inputs.0.shape.0: Input should be a valid integer"),
    (request(shape=[2**63, 3, 32, 32]), "the limit is 1,024 a request"),
    (request(shape=[2**62, 2**62, 2**62, 2**62]), "the model takes [-1, 3, 32, 32]"),
    (request(shape=[1025, 3, 32, 32]), "says 1,025 pictures; the limit is 1,024 a request"),
    (request(shape=[2, 3, 32, 32]), "inputs[0].data has to be 6,144 numbers in one list"),
    (request(data=[9] * 3071), "has to be 3,072 numbers in one list"),
    (request(data=[[9] * 3072]), "it is differently nested"),
    (request(data=[[[9] * 32] * 32] * 3), "it is differently nested"),
    (request(data=data_with(256)), "inputs[0].data: number 3,000 is 256; UINT8 is a whole number from 0"),
    (request(data=data_with(-1)), "inputs[0].data: number 3,000 is -1"),
    (request(data=data_with(1.5)), "inputs[0].data: number 3,000 is 1.5"),
    (request(data=data_with(1e300)), "inputs[0].data: number 3,000 is 1e+300"),
    (request(data=data_with(float("nan"))), "inputs[0].data: number 3,000 is NaN"),
    (request(data=data_with(float("inf"))), "inputs[0].data: number 3,000 is Infinity"),
    (request(data=data_with(True)), "inputs[0].data: number 3,000 is true"),
    (request(data=data_with("9")), 'inputs[0].data: number 3,000 is "9"'),
    (request(data=data_with([9])), "it is differently nested"),
    (request(data="9" * 3072), "inputs[0].data has to be a list of numbers"),
    (request(data=None), "inputs[0].data is missing, and so is the parameter binary_data_size"),
    (request(name="pixels"), """inputs has to be one tensor named 'images'; got ["pixels"]"""),
    (request(parameters={"shared_memory_region": "r"}), "shared memory is not supported"),
    (request(parameters=[]), "inputs.0.parameters: Input should be a valid dictionary"),
    ({"inputs": []}, "inputs has to be one tensor named 'images'; got []"),
    ({"inputs": request()["inputs"] * 2}, """got ["images","images"]"""),
    ({}, "inputs: Field required"),
    (request() | {"id": 42}, "id: Input should be a valid string; got 42"),
    (request() | {"outputs": [{"name": "logits"}]}, "outputs may be one tensor named 'probabilities'"),
    (request() | {"outputs": [{"name": "probabilities"}] * 2}, "outputs may be one tensor named"),
    (request() | {"parameters": {"binary_data_output": "yes"}}, 'binary_data_output is "yes"; it is true or'),
    ([], "the request has to be a JSON object"),
    (7, "the request has to be a JSON object"),
]


@pytest.mark.parametrize(("body", "says"), BAD)
def test_what_is_wrong_is_named_with_its_value(client: httpx.Client, body: object, says: str) -> None:
    assert_refused(client.post(INFER, content=json.dumps(body)), 400, says)


@pytest.mark.parametrize("count", [-1, 1.5, True, "3", None])
def test_a_number_of_classes_that_is_none_is_refused(client: httpx.Client, count: object) -> None:
    outputs = [{"name": "probabilities", "parameters": {"classification": count}}]
    answer = client.post(INFER, json=request() | {"outputs": outputs})
    assert_refused(answer, 400, f"outputs[0].parameters.classification is {json.dumps(count)}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "the request is not JSON"),
        (b"{", "the request is not JSON"),
        (b"\xff\xfe", "the request is not JSON"),
        (b'{"inputs": [{"data": [1, 2}]}', "the request is not JSON"),
        (b'{"a":' * 5000, "the request is not JSON"),
        (b'{"inputs": [{"data": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]}", "inputs.0.name: Field required"),
    ],
)
def test_a_body_that_is_no_json_is_refused(client: httpx.Client, text: bytes, says: str) -> None:
    assert_refused(client.post(INFER, content=text), 400, says)


def test_json_beside_the_numbers_has_a_limit(client: httpx.Client) -> None:
    answer = client.post(INFER, json=request() | {"id": "x" * 70_000})
    assert_refused(answer, 413, "the limit is 65,536 bytes")


def test_a_list_nested_deeper_than_any_shape_is_refused(client: httpx.Client) -> None:
    nested = "[" * 60_000 + "9" + "]" * 60_000
    body = json.dumps(request(data="HERE")).replace('"HERE"', nested)
    assert_refused(client.post(INFER, content=body), 400, "has to be 3,072 numbers in one list")


@pytest.mark.parametrize(
    ("length", "says"),
    [
        ("-1", "'-1', not a number of bytes"),
        ("ten", "'ten', not a number of bytes"),
        ("1e3", "'1e3', not a number of bytes"),
        ("\u00b2".encode(), "not a number of bytes"),
        ("999999", "is 999999, but the body is"),
        ("9" * 5000, "but the body is"),
        ("0", "a picture is 3,072, and 1 to 1,024 of them may be sent"),
        ("5", "the request is not JSON"),
    ],
)
def test_a_header_length_that_lies_is_refused(client: httpx.Client, length: str | bytes, says: str) -> None:
    body, _ = binary()
    assert_refused(client.post(INFER, content=body, headers={LENGTH: length}), 400, says)


@pytest.mark.parametrize(
    ("size", "sent", "says"),
    [
        (3071, 3072, "binary_data_size is 3071; the shape [1, 3, 32, 32] takes 3,072"),
        (-3072, 3072, "binary_data_size is -3072"),
        (3072.0, 3072, "binary_data_size is 3072.0"),
        ("3072", 3072, 'binary_data_size is "3072"'),
        (10**30, 3072, "binary_data_size is 1e"),
        (3072, 3071, "binary_data_size is 3,072, but 3,071 bytes follow the JSON"),
        (3072, 3073, "but 3,073 bytes follow the JSON"),
    ],
)
def test_a_binary_size_that_does_not_fit_is_refused(
    client: httpx.Client, size: object, sent: int, says: str
) -> None:
    body, headers = binary(size, sent)
    assert_refused(client.post(INFER, content=body, headers=headers), 400, says)


def test_bytes_that_belong_to_no_tensor_are_refused(client: httpx.Client) -> None:
    text = json.dumps(request()).encode()
    answer = client.post(INFER, content=text + b"spare", headers={LENGTH: str(len(text))})
    assert_refused(answer, 400, "5 bytes follow the JSON, but no input has the parameter binary_data_size")
    answer = client.post(INFER, json=request(parameters={"binary_data_size": 3072}))
    assert_refused(answer, 400, "inputs[0] has both data and binary_data_size")


def test_a_bomb_is_unpacked_to_the_limit_and_no_further(serve: Serve) -> None:
    small = serve(max_body_bytes=2**20)
    for bomb in (gzip.compress(bytes(2**28)), zlib.compress(bytes(2**28))):
        answer = small.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
        assert_refused(answer, 413, "decompressed; the limit is 1,048,576 bytes")


def test_unpacked_bodies_count_among_the_bytes_held(serve: Serve) -> None:
    small = serve(max_buffered_bytes=2**16)
    headers = {"Content-Encoding": "gzip", LENGTH: "0"}
    for _ in range(25):  # more than the limit, one after another
        assert small.post(INFER, content=gzip.compress(bytes(3072)), headers=headers).status_code == 200
    answer = small.post(INFER, content=gzip.compress(bytes(3072 * 32)), headers=headers)
    assert_refused(answer, 503, "the limit is 65,536 bytes")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("body", "encoding", "says"),
    [
        (b"plain", "gzip", "the body is not gzip"),
        (gzip.compress(b"x" * 5000)[:-9], "gzip", "the compressed body is cut short"),
        (gzip.compress(b"{}") + b"more", "deflate", "the compressed body is followed by other bytes"),
        (b"{}", "br", "the Content-Encoding is br; send gzip, deflate, or none"),
    ],
)
def test_a_compression_that_is_none_is_refused(
    client: httpx.Client, body: bytes, encoding: str, says: str
) -> None:
    assert_refused(client.post(INFER, content=body, headers={"Content-Encoding": encoding}), 400, says)


def test_errors_have_the_protocols_form_wherever_they_arise(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = serve(max_body_bytes=4096, timeout_s=0.3)
    assert_refused(small.get("/v2/nothing"), 404, "there is nothing at this address")
    assert_refused(small.get(INFER), 405, "this address does not take this method")
    assert small.get(INFER).headers["Allow"] == "POST"
    assert_refused(small.get("/v2/models/" + "x" * 300), 400, "at most 200 characters")
    assert_refused(small.post(INFER, content=bytes(5000)), 413, "the limit is 4,096 bytes")
    raw = {LENGTH: "0"}
    with monkeypatch.context() as patched:
        patched.setattr("service.routes.open_inference.read_call", lambda *_: time.sleep(0.5))
        patched.setattr("service.routes.open_inference.INLINE", 0)
        answer = small.post(INFER, content=bytes(3072), headers=raw)
    assert_refused(answer, 503, "0.3 s")
    assert int(answer.headers["Retry-After"]) > 0
    with monkeypatch.context() as patched:
        patched.setattr("service.routes.open_inference.read_call", lambda *_: 1 / 0)
        assert_refused(small.post(INFER, content=bytes(3072), headers=raw), 500, "internal error")
    elsewhere = small.get("/v2x")
    assert elsewhere.headers["Content-Type"] == "application/problem+json"
    assert small.get("/web/v2/x").headers["Content-Type"] == "application/problem+json"


def test_a_server_that_shuts_down_is_alive_and_not_ready(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drain(_: object) -> None:
        raise ShuttingDown("the server is shutting down")

    monkeypatch.setattr("service.routes.operations.ready", drain)
    for path in ("/v2/health/ready", "/v2/models/cifar10-lenet/ready"):
        answer = client.get(path)
        assert_refused(answer, 503, "shutting down")
        assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/v2/health/live").status_code == 200


def test_a_key_is_needed_where_keys_are_set_but_for_health(serve: Serve) -> None:
    key, entry = new_key("triton")
    locked = serve(api_keys=(entry,))
    assert_refused(locked.post(INFER, json=request()), 401, "Authorization: Bearer")
    assert locked.get("/v2/health/ready").status_code == 200
    with InferenceServerClient(f"{locked.base_url.host}:{locked.base_url.port}") as triton:
        assert triton.get_model_metadata("cifar10-lenet", headers={"Authorization": f"Bearer {key}"})


def test_a_full_queue_is_said_in_the_protocols_form(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = serve(queue_length=1, batch_size=1)
    monkeypatch.setattr("service.model.Model.classify", lambda *_: time.sleep(0.6) or 1 / 0)
    body = bytes(3072)
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(waiting.post(INFER, content=body, headers={LENGTH: "0"}))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    full = [answer for answer in answers if answer.status_code == 503]
    assert full
    for answer in full:
        assert_refused(answer, 503, "try again in")
        assert int(answer.headers["Retry-After"]) > 0


def test_reading_a_large_tensor_holds_nobody_up(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def read_slowly(*_: object) -> None:
        begun.set()
        assert may_end.wait(30)
        raise InvalidRequest("read in the end")

    monkeypatch.setattr("service.routes.open_inference.read_call", read_slowly)
    answers: list[httpx.Response] = []
    body = bytes(3072 * 32)
    asking = threading.Thread(
        target=lambda: answers.append(client.post(INFER, content=body, headers={LENGTH: "0"}))
    )
    asking.start()
    assert begun.wait(30)
    assert client.get("/v2/health/live", timeout=10).status_code == 200
    assert not answers
    may_end.set()
    asking.join()
    assert_refused(answers[0], 400, "read in the end")


def span(text: bytes) -> Span:
    return Span(b"before" + text + b"behind", 6, 6 + len(text))


def test_blank_space_between_numbers_has_a_limit() -> None:
    with pytest.raises(InvalidRequest, match="number 0 is written in more than 1,048,576 bytes"):
        read_numbers(span(b"[1," + b" " * MAX_PIECE_BYTES + b"1]"), (2,), "data")


def test_numbers_in_pieces_are_the_numbers_sent() -> None:
    sent = np.random.default_rng(1).integers(0, 256, (40, 2, 30, 30), np.uint8)
    for text in (json.dumps(sent.tolist()), json.dumps(sent.reshape(-1).tolist(), indent=1)):
        assert len(text) > 3 * PIECE_BYTES
        np.testing.assert_array_equal(read_numbers(span(text.encode()), sent.shape, "data"), sent)


@pytest.mark.parametrize("text", [b"[[1,2]3,[4,5]]", b"[[1,2],3[4,5]]", b"[[1,2],[,5]]", b"[[1,02],[3,4]]"])
def test_brackets_out_of_place_are_no_numbers(text: bytes) -> None:
    with pytest.raises(ServiceError):
        read_numbers(span(text), (2, 2), "data")


def pieces_of_requests() -> Iterator[st.SearchStrategy[bytes]]:
    words = [*list('[],1-} "'), "[1,2]", "[[[1,2]]]", "256", ".5", "NaN", "true", "e9"]
    yield st.lists(st.sampled_from(words), max_size=12).map(lambda parts: "".join(parts).encode())
    yield st.binary(max_size=40)


@settings(max_examples=500, deadline=None)
@given(st.one_of(*pieces_of_requests()), st.sampled_from([None, "0", "12", "104", "x"]), st.booleans())
def test_any_bytes_at_all_are_read_or_refused(noise: bytes, length: str | None, is_whole: bool) -> None:
    around = b'{"inputs":[{"name":"images","shape":[1,1,1,2],"datatype":"UINT8","data":%s}]}'
    body = noise if is_whole else around % noise
    try:
        call = read_call(part(body, length), (1, 1, 2))
    except ServiceError:
        return
    assert call.pictures.dtype == np.uint8
    assert call.pictures.shape[1:] == (1, 1, 2)
    if length is None:
        sent = json.loads(body)["inputs"][0]["data"]  # another reader's word for it
        assert np.ravel(sent).tolist() == call.pictures.reshape(-1).tolist()
