"""The running service is held to the Open Inference Protocol's description, path by path."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft4Validator
from openapi_spec_validator import validate

DESCRIPTION: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("open_inference_rest.yaml").read_text(encoding="utf-8")
)
OPERATIONS = [
    (method, path, operation)
    for path, operations in DESCRIPTION["paths"].items()
    for method, operation in operations.items()
    if method != "parameters"
]
MODEL, VERSION = "cifar10-lenet", "1.0.0"
REQUEST = {
    "id": "42",
    "parameters": {"made_up": "passed over"},
    "inputs": [{"name": "images", "shape": [2, 3, 32, 32], "datatype": "UINT8", "data": [7] * 2 * 3072}],
    "outputs": [{"name": "probabilities"}],
}


def hold(value: object, schema: dict[str, Any]) -> None:
    """Validate against a schema of the description (OpenAPI 3.0 is JSON Schema draft 4, extended)."""
    Draft4Validator({"components": DESCRIPTION["components"]} | schema).validate(value)


def address(path: str, model: str = MODEL, version: str = VERSION) -> str:
    return path.replace("${MODEL_NAME}", model).replace("${MODEL_VERSION}", version)


def schema_of(operation: dict[str, Any], status: str) -> dict[str, Any]:
    schema: dict[str, Any] = operation["responses"][status]["content"]["application/json"]["schema"]
    return schema


def test_the_description_is_openapi_and_names_every_endpoint_of_the_protocol() -> None:
    validate(DESCRIPTION)
    assert len(OPERATIONS) == 10


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_endpoint_answers_as_described(
    client: httpx.Client, method: str, path: str, operation: dict[str, Any]
) -> None:
    body = REQUEST if method == "post" else None
    if body:
        hold(body, operation["requestBody"]["content"]["application/json"]["schema"])
    answer = client.request(method, address(path), json=body)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    hold(answer.json(), schema_of(operation, "200"))


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_endpoint_refuses_in_the_form_described(
    client: httpx.Client, method: str, path: str, operation: dict[str, Any]
) -> None:
    refused = [client.request("DELETE", address(path))]
    if "MODEL_NAME" in path:
        refused.append(client.request(method, address(path, model="nope"), json=REQUEST))
    if "MODEL_VERSION" in path:
        refused.append(client.request(method, address(path, version="9.9"), json=REQUEST))
    if method == "post":
        refused.append(client.post(address(path), json={"inputs": []}))
        refused.append(client.post(address(path), content=b"{"))
    for answer in refused:
        assert answer.status_code in {400, 404, 405}
        hold(answer.json(), {"$ref": "#/components/schemas/error_response"})


def test_an_answer_repeats_the_id_and_gives_a_row_a_picture(client: httpx.Client) -> None:
    answer = client.post(f"/v2/models/{MODEL}/infer", json=REQUEST).json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", MODEL, VERSION)
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 10])
    assert len(output["data"]) == 20
    assert sum(output["data"][:10]) == pytest.approx(1, abs=1e-5)


def test_tensors_are_described_as_they_are(client: httpx.Client) -> None:
    described = client.get(f"/v2/models/{MODEL}").json()
    assert described["platform"] == "pytorch_torchscript"
    assert described["versions"] == [VERSION]
    assert described["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 3, 32, 32]}]
    assert described["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]
