"""Health, the models' descriptions, the documentation and the errors of the service as a whole."""

import json
import logging
import re
import socket
import time
from collections.abc import Callable

import httpx
import pytest
from openapi_spec_validator import validate

from service.serving import Served
from tests.answers import assert_problem

Serve = Callable[..., httpx.Client]


def test_health_says_live_and_ready(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_the_models_are_listed_with_what_is_known_of_them(client: httpx.Client) -> None:
    listed = client.get("/models").json()
    names = [model["name"] for model in listed["models"]]
    assert listed["default"] in names
    for model in listed["models"]:
        assert client.get(f"/models/{model['name']}").json() == model
        assert {"schema", "version", "labels", "input", "metrics", "training", "parameters", "macs"} <= set(
            model
        )
        assert 0 < model["metrics"]["accuracy"] < 1
        assert 0 <= model["metrics"]["expected_calibration_error"] < 1
        assert set(model["metrics"]["per_class_accuracy"]) == set(model["labels"])


def test_the_model_that_ships_answers_by_default(client: httpx.Client) -> None:
    assert client.get("/models").json()["default"] == "cifar10-resnet"


def test_the_learned_filters_are_numbers(client: httpx.Client) -> None:
    answer = client.get("/models/cifar10-lenet/filters").json()
    assert answer["shape"] == [6, 3, 5, 5]
    assert len(answer["filters"]) == 6
    assert len(answer["filters"][0][0][0]) == 5
    assert any(abs(cell) > 0.01 for cell in answer["filters"][0][0][0])


def test_an_unknown_model_is_not_found(client: httpx.Client) -> None:
    for path in ("/models/nope", "/models/nope/filters", "/models/..%2F..%2Fetc"):
        assert_problem(client.get(path), 404)


def test_an_unknown_address_and_a_wrong_method_are_problems(client: httpx.Client) -> None:
    assert_problem(client.get("/nope"), 404)
    assert_problem(client.get("/web/nope.js"), 404)
    assert_problem(client.get("/web/../app.py"), 404)
    assert assert_problem(client.get("/predict"), 405)
    assert client.get("/predict").headers["Allow"] == "POST"


def test_the_pages_name_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/docs", "/"):
        page = client.get(path)
        assert page.status_code == 200
        addresses = re.findall(r'(?:src|href)="([^"#]+)', page.text)
        assert addresses
        for address in addresses:
            if not address.startswith("data:"):
                assert not re.match(r"(https?:)?//", address)
                assert client.get(f"/{address}").status_code == 200


def test_the_description_is_valid_and_documents_every_endpoint(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()
    validate(description)
    assert set(description["paths"]) == {
        "/predict",
        "/predict/batch",
        "/layers",
        "/layers/{layer}",
        "/explain",
        "/convolve",
        "/convolve/image",
        "/pool",
        "/filters",
        "/models",
        "/models/{name}",
        "/models/{name}/filters",
        "/health/live",
        "/health/ready",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{name}",
        "/v2/models/{name}/ready",
        "/v2/models/{name}/infer",
        "/metrics",
    }
    for path in description["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert operation["description"]


def test_every_json_example_of_the_description_works(client: httpx.Client) -> None:
    tried = 0
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in body.get("examples", {}).values():
                answer = client.request(method, path.format(name="cifar10-resnet"), json=example["value"])
                assert answer.status_code == 200, (path, answer.text)
                tried += 1
    assert tried >= 3


def test_a_browser_elsewhere_may_call_only_where_it_is_allowed(serve: Serve, client: httpx.Client) -> None:
    headers = {"Origin": "https://example.org"}
    assert "Access-Control-Allow-Origin" not in client.get("/filters", headers=headers).headers
    allowing = serve(cors_origins=("https://example.org",))
    answer = allowing.get("/filters", headers=headers)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"
    other = allowing.get("/filters", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_an_internal_error_tells_the_caller_nothing_of_the_inside(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("secret at 0x7f00 in /srv/app.py")

    monkeypatch.setattr("service.routes.models.card_of", broken)
    answer = serve().get("/models", headers={"X-Request-ID": "find-me"})
    problem = assert_problem(answer, 500)
    assert "secret" not in json.dumps(problem)
    assert answer.headers["X-Request-ID"] == "find-me"
    logged = next(record for record in caplog.records if record.exc_info)
    assert logged.request_id == "find-me"  # type: ignore[attr-defined]


def line_of(caplog: pytest.LogCaptureFixture, request_id: str) -> logging.LogRecord:
    """Wait for the log line of a request: it is written after the answer is sent."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for record in caplog.records:
            if getattr(record, "request_id", "") == request_id:
                return record
        time.sleep(0.01)
    raise AssertionError(f"{request_id} was never logged")


def test_a_client_that_goes_away_is_no_error_of_the_service(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service")
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        head = (
            "POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-ID: leaver\r\n"
            "Content-Type: image/png\r\nContent-Length: 100\r\n\r\nabc"
        )
        connection.sendall(head.encode())
        time.sleep(0.1)
    line = line_of(caplog, "leaver")
    assert (line.levelname, line.status) == ("INFO", 499)  # type: ignore[attr-defined]
    assert not any(record.exc_info for record in caplog.records)


def test_an_address_cannot_forge_a_log_line(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service")
    client.get("/%0a12:00:00%20INFO%20forged%1b[31m", headers={"X-Request-ID": "forger"})
    message = line_of(caplog, "forger").getMessage()
    assert "forged" in message
    assert "\n" not in message
    assert "\x1b" not in message


def test_a_slash_too_many_is_not_found_and_head_is_answered(client: httpx.Client) -> None:
    assert_problem(client.get("/models/", headers={"Host": "evil.example"}), 404)
    assert client.head("/health/ready").status_code == 200


def test_a_request_that_takes_too_long_is_answered(
    serve: Serve, cat: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Served.decode
    monkeypatch.setattr(Served, "decode", lambda *given: time.sleep(0.5) or decode(*given))
    answer = serve(timeout_s=0.1).post("/predict", files={"file": cat})
    assert_problem(answer, 503, "0.1 s")
    assert int(answer.headers["Retry-After"]) > 0


def test_the_express_way_answers_as_the_router_does(serve: Serve, cat: bytes) -> None:
    """Under a prefix the same endpoint is reached by way of the router."""
    client = serve(cors_origins=("https://example.org",))
    headers = {"Origin": "https://example.org"}
    for path, kind, status in (("/predict", "image/jpeg", 200), ("/predict?top_k=0", "image/jpeg", 422)):
        answer = client.post(path, content=cat, headers=headers | {"Content-Type": kind})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"
    assert client.options("/predict", headers=headers | {"Access-Control-Request-Method": "POST"}).is_success
    assert client.get("/predict").status_code == 405
