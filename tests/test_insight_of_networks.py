"""Networks of every build are exported, served and looked into: the layers shown are what torch computes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from service.insight.cells import explain_cell
from service.model import Model, load_model
from service.settings import Settings
from tests.artefacts import card
from tests.conftest import picture_file, running
from tests.service.test_layers import send
from training.export import save_artefact
from training.networks import Classifier, build, count_macs, count_parameters

# Leaf modules whose outputs are layers of their own, and the kind they are shown as.
SHOWN = {
    nn.Conv2d: "convolution",
    nn.Linear: "fully-connected",
    nn.BatchNorm2d: "normalisation",
    nn.MaxPool2d: "pooling",
    nn.AvgPool2d: "pooling",
    nn.AdaptiveAvgPool2d: "pooling",
    nn.ReLU: "activation",
    nn.GELU: "activation",
    nn.Hardswish: "activation",
    nn.Hardsigmoid: "activation",
    nn.Sigmoid: "activation",
    nn.Flatten: "flatten",
}
WEIGHTED = {"convolution", "fully-connected", "normalisation"}
KINDS = {*SHOWN.values()}


class Various(nn.Module):
    """A bit of everything that people build networks of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.same = nn.Conv2d(8, 8, 3, padding="same")
        self.dilated = nn.Conv2d(8, 8, (3, 5), padding=(2, 4), dilation=2)
        self.depthwise = nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.grouped = nn.Conv2d(32, 16, 1, groups=4)
        self.mean = nn.AvgPool2d(2)
        self.again = nn.Conv2d(16, 16, 3, padding=1)
        self.overlapping = nn.MaxPool2d(3, 2, padding=1)
        self.adaptive = nn.AdaptiveAvgPool2d(2)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        x = torch.cat([self.same(x), self.dilated(x)], 1)
        x = self.mean(self.grouped(self.depthwise(x)))
        x = x + self.again(self.again(self.again(x)))
        x = self.dropout(self.adaptive(self.overlapping(x)))
        return self.fc(x.view(len(x), -1))


class Branching(nn.Module):
    """Takes another way for bright pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bright = nn.Conv2d(4, 4, 3)
        self.fc = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.bright(x) if bool(x.mean() > 0) else -x
        return self.fc(x.mean((2, 3)))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 12), nn.Sigmoid(), nn.Linear(12, 10))


NETWORKS = {
    "lenet-grey": lambda: build("lenet", 10, channels=1, size=44),
    "resnet": lambda: build("resnet", 10),
    "various": lambda: Classifier(Various(), 32, temperature=1.5),
    "mobilenet": lambda: Classifier(torchvision.models.mobilenet_v3_small(num_classes=10), 64),
    "shufflenet": lambda: Classifier(torchvision.models.shufflenet_v2_x0_5(num_classes=10), 64),
    "branching": lambda: Classifier(Branching(), 32),
    "perceptron": lambda: Classifier(perceptron(), 32),
}


@dataclass
class Exported:
    """A network in eager torch, and read back from its artefact."""

    eager: Classifier
    model: Model
    pixels: np.ndarray[Any, np.dtype[np.uint8]]


def as_trained(classifier: Classifier) -> Classifier:
    """Give every layer numbers of its own, as training does: fresh normalisations are all alike.

    Those of shufflenet keep weights of 1, which one may choose not to learn: their biases still differ.
    """
    fixed = isinstance(classifier.network, torchvision.models.ShuffleNetV2)
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            for numbers in (module.running_var,) if fixed else (module.weight, module.running_var):
                nn.init.uniform_(numbers, 0.5, 2)
            for numbers in (module.bias, module.running_mean):
                nn.init.uniform_(numbers, -0.5, 0.5)
    return classifier.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def exported(folder: Path) -> dict[str, Exported]:
    """Every network, exported by the training package."""
    found = {}
    for seed, (name, make) in enumerate(NETWORKS.items()):
        torch.manual_seed(seed)
        classifier = as_trained(make())
        deployed = classifier.deployable().eval()
        channels, size = (1 if "grey" in name else 3), classifier.size
        size_of_input = {"height": size, "width": size, "channels": channels}
        pictures = torch.randint(0, 256, (2, channels, size, size), dtype=torch.uint8)
        described = card(
            name,
            labels=[f"class {index}" for index in range(10)],
            input=size_of_input,
            parameters=count_parameters(deployed),
            macs=count_macs(deployed, channels),
        )
        save_artefact(folder / f"{name}.pt", deployed, described, pictures)
        found[name] = Exported(deployed, load_model(folder / f"{name}.pt"), pictures[0].numpy())
    return found


@pytest.fixture(scope="module")
def client(exported: dict[str, Exported], folder: Path) -> Iterator[httpx.Client]:
    """A client of a service with these networks."""
    with running(Settings(models_dir=folder)) as client:
        yield client


@pytest.fixture(params=NETWORKS)
def one(request: pytest.FixtureRequest, exported: dict[str, Exported]) -> Exported:
    return exported[request.param]


def seen_by_hooks(classifier: Classifier, image: Tensor) -> list[tuple[str, str, Tensor]]:
    """Give path, kind and output of every module that is a layer, in the order they ran, by eager torch."""
    seen = []
    hooks = []
    for path, module in classifier.network.named_modules():
        kind = next((kind for known, kind in SHOWN.items() if isinstance(module, known)), None)
        if kind is None or path == "bright":  # what is in a branch is not seen by itself
            continue

        def note(_: nn.Module, __: Any, output: Tensor, path: str = path, kind: str = kind) -> None:
            seen.append((path, kind, output[0].clone()))  # before the next one may write over it

        hooks.append(module.register_forward_hook(note))
    with torch.inference_mode():
        classifier(image[None])
    for hook in hooks:
        hook.remove()
    return seen


def numbered(seen: list[tuple[str, str, Tensor]]) -> list[tuple[str, str, Tensor]]:
    """Tell the second and third use of a layer apart, as the service names them."""
    times: Counter[str] = Counter()
    found = []
    for path, kind, output in seen:
        times[path] += 1
        found.append((path if times[path] == 1 else f"{path}-{times[path]}", kind, output))
    return found


def picture_of(one: Exported) -> bytes:
    pixels = one.pixels.transpose(1, 2, 0)
    return picture_file(Image.fromarray(pixels.squeeze()), "PNG")


def test_every_layer_shows_what_eager_torch_computes(one: Exported) -> None:
    network = one.model.network
    outputs = network.run(torch.from_numpy(one.pixels))
    seen = seen_by_hooks(one.eager, torch.from_numpy(one.pixels))
    shown = {kind: [layer.name for layer in network.layers if layer.kind.word == kind] for kind in KINDS}
    for path, kind, output in numbered(seen):
        # What has weights is found by its name; the others come in the order they ran.
        name = path if kind in WEIGHTED else shown[kind].pop(0)
        assert outputs[name].shape == output.shape, name
        np.testing.assert_allclose(outputs[name], output, rtol=1e-3, atol=1e-4, err_msg=name)
    with torch.inference_mode():
        logits = one.eager(torch.from_numpy(one.pixels)[None])[0]
    assert outputs[network.last].numpy() == pytest.approx(logits.numpy(), rel=1e-3, abs=1e-4)


def test_layers_with_weights_have_their_authors_names(one: Exported) -> None:
    names = [layer.name for layer in one.model.network.layers]
    assert len(set(names)) == len(names)
    shown = [layer.name for layer in one.model.network.layers if layer.kind.word in WEIGHTED]
    seen = numbered(seen_by_hooks(one.eager, torch.from_numpy(one.pixels)))
    assert sorted(shown) == sorted(path for path, kind, _ in seen if kind in WEIGHTED)


def test_the_learned_numbers_add_up_to_the_model_cards(one: Exported) -> None:
    layers = one.model.network.layers
    used_again = {"again-2", "again-3"}
    count = sum(layer.parameter_count for layer in layers if layer.name not in used_again)
    hidden = (
        sum(p.numel() for p in one.eager.network.bright.parameters())
        if hasattr(one.eager.network, "bright")
        else 0
    )
    assert count == one.model.card.parameters - hidden


def test_every_cell_is_explained_by_the_numbers_it_was_computed_from(one: Exported) -> None:
    network, chance = one.model.network, np.random.default_rng(0)
    outputs = network.run(torch.from_numpy(one.pixels))
    for layer in network.layers:
        before, after = outputs[layer.inputs[0]].double(), outputs[layer.name].double()
        for _ in range(4):
            place = tuple(int(chance.integers(size)) for size in after.shape)
            if len(place) > 3:
                continue
            cell = explain_cell(layer, outputs, place)
            value = after[place].item()
            assert cell["value"] == pytest.approx(value, rel=1e-5, abs=1e-12)
            match layer.kind.word:
                case "convolution":
                    check_convolution(layer, before, place, cell)
                case "fully-connected":
                    np.testing.assert_allclose(cell["window"], before, rtol=1e-5)
                    np.testing.assert_allclose(cell["filter"], layer.learned[0][place], rtol=1e-5)
                    assert cell["sum"] + (cell["bias"] or 0) == pytest.approx(value, rel=1e-3, abs=1e-3)
                case "pooling":
                    check_pooling(layer, before, place, cell)
                case "activation":
                    assert cell["window"] == pytest.approx([before[place].item()], rel=1e-5)
                case "sum" | "product":
                    combine = np.sum if layer.kind.word == "sum" else np.prod
                    assert combine(cell["window"]) == pytest.approx(value, rel=1e-3, abs=1e-4)
                case "flatten":
                    if before.dim() == 3:
                        at = cell["place"]
                        assert before[at["channel"], at["top"], at["left"]] == after[place]
                        assert cell["window"] == [cell["value"]]


def check_convolution(layer: Any, before: Tensor, place: tuple[int, ...], cell: dict[str, Any]) -> None:
    """Compare a cell with a window cut by hand, by the arguments of the operator itself."""
    channel, *corner = place
    weight = layer.learned[0]
    _, _, _, stride, padding, dilation, groups = layer.arguments[:7]
    if padding == "same":
        padding = [d * (f - 1) // 2 for d, f in zip(dilation, weight.shape[2:], strict=True)]
    first = channel // (len(weight) // groups) * weight.shape[1]
    window = np.full(tuple(weight.shape[1:]), None, object)
    for index in np.ndindex(window.shape):
        c, *inside = index
        row, column = (
            at * s - p + d * i
            for at, s, p, d, i in zip(corner, stride, padding, dilation, inside, strict=True)
        )
        if 0 <= row < before.shape[1] and 0 <= column < before.shape[2]:
            window[index] = before[first + c, row, column].item()
    shown = np.array(cell["window"], object)
    padded = np.equal(window, None)
    assert (np.equal(shown, None) == padded).all(), layer.name
    np.testing.assert_allclose(shown[~padded].astype(float), window[~padded].astype(float), rtol=1e-5)
    np.testing.assert_allclose(cell["filter"], weight[channel], rtol=1e-5)
    products = np.where(padded, 0, window).astype(float) * weight[channel].numpy()
    np.testing.assert_allclose(cell["sums"], products.sum((1, 2)), rtol=1e-4, atol=1e-5)
    assert sum(cell["sums"]) == pytest.approx(cell["sum"], rel=1e-4, abs=1e-4)
    assert cell["sum"] + (cell["bias"] or 0) == pytest.approx(cell["value"], rel=1e-3, abs=1e-4)
    assert cell["place"] == {
        "channel": first,
        "top": corner[0] * stride[0] - padding[0],
        "left": corner[1] * stride[1] - padding[1],
        "height": weight.shape[2],
        "width": weight.shape[3],
    }


def check_pooling(layer: Any, before: Tensor, place: tuple[int, ...], cell: dict[str, Any]) -> None:
    numbers = [value for row in cell["window"] for value in row if value is not None]
    combine = max if "max" in layer.kind.title else np.mean
    assert combine(numbers) == pytest.approx(cell["value"], rel=1e-4, abs=1e-5), layer.name
    at, (height, width) = cell["place"], before.shape[1:]
    rows = range(max(at["top"], 0), min(at["top"] + at["height"], height))
    columns = range(max(at["left"], 0), min(at["left"] + at["width"], width))
    assert len(numbers) == len(rows) * len(columns)
    for row, column in ((rows[0], columns[0]), (rows[-1], columns[-1])):
        shown = cell["window"][row - at["top"]][column - at["left"]]
        assert shown == pytest.approx(before[place[0], row, column].item(), rel=1e-5)


@pytest.mark.parametrize(
    "name",
    list(NETWORKS),
)
def test_what_is_served_ends_in_the_probabilities_of_predict(
    client: httpx.Client, exported: dict[str, Exported], name: str
) -> None:
    data = picture_of(exported[name])
    answer = send(client, data, model=name)
    layers = answer["layers"]
    last = layers[-1]
    assert (last["name"], last["kind"]) == ("softmax", "softmax")
    assert sum(last["numbers"]) == pytest.approx(1, abs=1e-5)
    predicted = client.post("/predict", files={"file": data}, params={"model": name, "top_k": 10}).json()
    by_index = {guess["index"]: guess["probability"] for guess in predicted["predictions"]}
    assert last["numbers"] == pytest.approx([by_index[index] for index in range(10)], abs=0.03)
    logits = next(layer for layer in layers if layer["name"] == last["inputs"][0])["numbers"]
    exact = torch.tensor(logits).double().softmax(0).tolist()
    assert last["numbers"] == pytest.approx(exact, abs=1e-5)
    with torch.inference_mode():
        eager = exported[name].eager(torch.from_numpy(exported[name].pixels)[None])[0]
    assert logits == pytest.approx(eager.tolist(), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_size_of_a_layer_follows_from_the_formula_given_with_it(
    client: httpx.Client, exported: dict[str, Exported], name: str
) -> None:
    layers = send(client, picture_of(exported[name]), model=name)["layers"]
    checked = 0
    for layer in layers:
        size = layer.get("size")
        if layer["kind"] == "convolution":
            assert size, layer["name"]
        if not size:
            continue
        for axis, side in zip(("height", "width"), layer["output_shape"][1:], strict=True):
            n, p, f, s, d = (size[axis].get(letter, 1) for letter in "npfsd")
            assert (n + 2 * p - d * (f - 1) - 1) // s + 1 == size[axis]["result"] == side
        checked += 1
    assert checked or name == "perceptron"


def test_parameters_say_what_the_author_chose(client: httpx.Client, exported: dict[str, Exported]) -> None:
    layers = send(client, picture_of(exported["various"]), model="various")["layers"]
    chosen = {layer["name"]: layer["parameters"] for layer in layers}
    assert chosen["scale1"] == {"operations": ["÷ 127.5", "− 1"]}
    assert chosen["stem"] == {
        "filter": [3, 3],
        "stride": [2, 2],
        "padding": [1, 1],
        "input_channels": 3,
        "output_channels": 8,
        "groups": 1,
        "bias": False,
    }
    assert chosen["dilated"]["dilation"] == [2, 2]
    assert chosen["dilated"]["filter"] == [3, 5]
    assert chosen["same"]["padding"] == [1, 1]
    assert chosen["depthwise"]["groups"] == 16
    assert chosen["fc"] == {"inputs": 64, "outputs": 10, "bias": True}
    assert chosen["scale2"] == {"operations": ["÷ 1.5"]}
    kinds = {layer["name"]: layer["kind"] for layer in layers}
    assert (kinds["cat1"], kinds["sum1"], kinds["flatten1"]) == ("concatenation", "sum", "flatten")
    inputs = {layer["name"]: layer["inputs"] for layer in layers}
    assert inputs["cat1"] == ["same", "dilated"]
    assert inputs["sum1"] == ["pool1", "again-3"]
    assert inputs["again-2"] == ["again"]


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "occlusion"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_asked_where_it_looks(
    client: httpx.Client, exported: dict[str, Exported], name: str, method: str
) -> None:
    answer = client.post(
        "/explain",
        files={"file": picture_of(exported[name])},
        params={"model": name, "method": method, "label": "class 7", "format": "json"},
    )
    if name == "perceptron" and method != "occlusion":
        assert answer.status_code == 422
        assert "method=occlusion" in answer.json()["detail"]
        return
    body = answer.json()
    heat = np.array(body["heat"], float)
    assert heat.shape == exported[name].pixels.shape[1:]
    assert np.isfinite(heat).all()
    assert (body["label"], body["index"]) == ("class 7", 7)
    if method != "occlusion":
        assert heat.min() >= 0
