"""A client generated from the description calls every endpoint of a running service."""

import importlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest

from service.app import create_app
from service.settings import Settings
from tests.clients.conftest import KEY
from tests.conftest import MODELS

OPERATIONS = {
    "insight": {"show_layers", "show_cell", "explain"},
    "matrices": {"convolve", "convolve_image", "pool", "list_filters"},
    "models": {"list_models", "show_model", "show_learned_filters"},
    "open inference protocol": {
        *("server_metadata", "server_live", "server_ready"),
        *("model_metadata", "model_ready", "model_infer"),
    },
    "operations": {"live", "ready", "read_metrics"},
    "predict": {"predict", "predict_batch"},
}
EDGE = [[10, 10, 0, 0]] * 3
FILTER = [[1, 0, -1]] * 3

Call = Callable[..., Any]
Import = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def package(generated: Path) -> Iterator[Import]:
    """Import a module of the generated package: `package("models")`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(generated))
        yield lambda name: importlib.import_module(f"stride_client.{name}" if name else "stride_client")
    for name in [one for one in sys.modules if one.partition(".")[0] == "stride_client"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def models(package: Import) -> Any:
    return package("models")


@pytest.fixture(scope="module")
def call(package: Import, client: httpx.Client) -> Iterator[Call]:
    """Call an operation as a program would: `call("predict", body=…)`."""
    called: set[str] = set()
    places = {name: tag.replace(" ", "_") for tag, names in OPERATIONS.items() for name in names}

    with package("").Client(base_url=str(client.base_url), timeout=httpx.Timeout(60)) as own:

        def run(name: str, *path: str, **options: Any) -> Any:
            called.add(name)
            return package(f"api.{places[name]}.{name}").sync(*path, client=own, **options)

        run.called = called  # type: ignore[attr-defined]
        yield run


@pytest.fixture
def picture(package: Import, cat: bytes) -> Callable[..., Any]:
    """A picture, or what is given, as the client takes a file."""

    def file(data: bytes = cat, name: str = "cat.jpg", kind: str = "image/jpeg") -> Any:
        return package("types").File(payload=io.BytesIO(data), file_name=name, mime_type=kind)

    return file


File = Callable[..., Any]


def test_operations_have_short_names_that_stay() -> None:
    """Programs made from an older description call them: a change here breaks those."""
    described = create_app(Settings(models_dir=MODELS)).openapi()
    named: dict[str, set[str]] = {}
    for path in described["paths"].values():
        for operation in path.values():
            (tag,) = operation["tags"]
            named.setdefault(tag, set()).add(operation["operationId"])
    assert named == OPERATIONS


def test_a_picture_is_classified_from_a_form_and_as_the_body(call: Call, models: Any, picture: File) -> None:
    form = call("predict", body=models.PredictFilesBody(file=picture()), top_k=2, model="cifar10-lenet")
    raw = call("predict", body=picture(), top_k=2, model="cifar10-lenet")
    assert isinstance(form, models.Prediction)
    assert (form.model, len(form.predictions)) == ("cifar10-lenet", 2)
    assert raw.predictions[0].index == form.predictions[0].index
    assert raw.predictions[0].probability == pytest.approx(form.predictions[0].probability, abs=1e-3)


def test_a_bad_picture_of_a_batch_is_a_typed_problem(call: Call, models: Any, picture: File) -> None:
    body = models.PredictBatchBody(files=[picture(), picture(b"notes", "notes.jpg")])
    good, bad = call("predict_batch", body=body).results
    assert isinstance(good, models.ClassifiedPicture)
    assert good.predictions[0].label == "cat"
    assert isinstance(bad, models.RefusedPicture)
    assert (bad.filename, bad.error.status) == ("notes.jpg", 400)


def test_errors_are_typed_problems(call: Call, models: Any, picture: File) -> None:
    unreadable = call("predict", body=picture(b"notes"))
    unknown = call("predict", body=picture(), model="nope")
    wrong = call("predict", body=picture(), top_k=99)
    assert [one.status for one in (unreadable, unknown, wrong)] == [400, 404, 422]
    assert all(isinstance(one, models.Problem) for one in (unreadable, unknown, wrong))
    assert wrong.errors[0].field == "top_k"


def test_matrices_are_convolved_and_pooled(call: Call, models: Any, picture: File) -> None:
    named = call("convolve", body=models.ConvolveRequest(image=EDGE, filter_="vertical-edge"), steps=True)
    own = call("convolve", body=models.ConvolveRequest(image=EDGE, filter_=FILTER, stride=1, padding=0))
    assert named.output == own.output == [[30, 30]]
    assert (named.size.width.n, named.size.width.result) == (4, 2)
    assert named.steps[0].sum_ == 30
    pooled = call("pool", body=models.PoolRequest(image=EDGE, size=2))
    assert pooled.output == [[10, 0]]
    clash = call("convolve", body=models.ConvolveRequest(image=[[1]], filter_=FILTER))
    assert (type(clash), clash.status) == (models.Problem, 422)


def test_a_dilated_filter_is_explained_too(call: Call, models: Any) -> None:
    body = models.ConvolveRequest(image=[[1] * 5] * 5, filter_=FILTER, dilation=2)
    size = call("convolve", body=body).size
    assert size.width.additional_properties == {"d": 2}


def test_an_npy_body_is_convolved(call: Call, picture: File) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array(EDGE))
    answer = call("convolve", body=picture(buffer.getvalue()), filter_="vertical-edge")
    assert answer.output == [[30, 30]]


def test_a_picture_is_filtered_to_a_png(call: Call, models: Any, picture: File) -> None:
    fields = {"filter_": "sobel-x", "normalize": models.ConvolvePictureRequestNormalize.ABS}
    body = models.ConvolvePictureRequest(file=picture(), **fields)  # with flip=False and per_channel=True
    answer = call("convolve_image", body=body)
    assert not isinstance(answer, models.Problem), answer
    assert answer.payload.read().startswith(b"\x89PNG")


def test_models_and_filters_are_listed(call: Call, models: Any) -> None:
    listed = call("list_models")
    assert listed.default == "cifar10-resnet"
    lenet = call("show_model", "cifar10-lenet")
    assert lenet in listed.models
    assert lenet.labels[3] == "cat"
    assert (lenet.input_.height, lenet.schema) == (32, 1)
    assert 0 < lenet.metrics["accuracy"] < 1
    assert call("show_model", "nope").status == 404
    assert call("show_learned_filters", "cifar10-lenet").shape == [6, 3, 5, 5]
    assert "sobel-x" in {one.name for one in call("list_filters").filters}


def test_layers_cells_and_heat_are_shown(call: Call, models: Any, picture: File) -> None:
    shown = call("show_layers", body=picture(), model="cifar10-lenet")
    conv1 = next(one for one in shown.layers if one.name == "conv1")
    assert (conv1.output_shape, conv1.maps.count, conv1.size.width.result) == ([6, 28, 28], 6, 28)
    cell = call("show_cell", "conv1", body=picture(), model="cifar10-lenet", channel=2, row=14, column=9)
    assert (cell.channel, cell.row, cell.column, cell.place.top) == (2, 14, 9, 14)
    assert call("explain", body=picture()).payload.read().startswith(b"\x89PNG")
    numbers = call("explain", body=picture(), format_=models.ExplainFormat.JSON, label="dog")
    assert json.loads(numbers.payload.read())["label"] == "dog"


def test_the_open_inference_protocol_is_spoken(call: Call, models: Any) -> None:
    assert call("server_metadata").name == "stride"
    assert (call("server_live").live, call("server_ready").ready) == (True, True)
    assert call("model_ready", "cifar10-lenet").ready
    tensor = call("model_metadata", "cifar10-lenet").inputs[0]
    assert (tensor.datatype, tensor.shape) == ("UINT8", [-1, 3, 32, 32])
    grey = models.RequestInput(name="images", shape=[1, 3, 32, 32], datatype="UINT8", data=[127] * 3072)
    answer = call("model_infer", "cifar10-lenet", body=models.InferenceRequest(inputs=[grey], id="7"))
    assert (answer.id, answer.outputs[0].shape) == ("7", [1, 10])
    assert sum(answer.outputs[0].data) == pytest.approx(1, abs=1e-4)
    assert "nope" in call("model_metadata", "nope").error


def test_health_and_metrics_are_read(call: Call) -> None:
    assert (call("live").status, call("ready").status) == ("live", "ready")
    assert "stride_" in call("read_metrics")


def test_every_operation_was_called(call: Call) -> None:
    called: set[str] = call.called  # type: ignore[attr-defined]
    assert called == set.union(*OPERATIONS.values())


def test_a_key_is_sent_where_one_is_needed(package: Import, keyed: httpx.Client) -> None:
    filters = package("api.matrices.list_filters")
    base_url = str(keyed.base_url)
    with package("").AuthenticatedClient(base_url=base_url, token=KEY) as own:
        assert filters.sync(client=own).filters
    with package("").Client(base_url=base_url) as stranger:
        assert filters.sync_detailed(client=stranger).status_code == 401
