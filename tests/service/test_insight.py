"""Looking into networks without HTTP: those that nobody had in mind, heat maps, and that no state is kept."""

import resource
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from service.errors import InvalidRequest
from service.insight.answers import Method, answer_cell, answer_heat, answer_layers
from service.insight.heat import occlusion, patches
from service.insight.maps import show_output
from service.insight.overlay import overlay
from service.model import Model, load_model
from tests.answers import assert_problem
from tests.artefacts import Chunks, Weird, write_weird
from tests.conftest import MODELS

Serve = Callable[..., httpx.Client]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16), np.uint8)
METHODS: list[Method] = ["grad-cam", "hires-cam", "occlusion"]


class ThroughTokens(Weird):
    def forward(self, images: Tensor) -> Tensor:
        tokens = self.conv(images.float() / 255).flatten(2).transpose(1, 2)
        return self.fc(tokens).mean(1)


class Attention(Weird):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 4, stride=4)
        self.query_key_value = nn.Linear(16, 48)
        self.norm = nn.LayerNorm(16)
        self.fc = nn.Linear(16, 2)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.conv(images.float() / 255).flatten(2).transpose(1, 2)
        split = self.query_key_value(self.norm(tokens)).view(-1, 16, 3, 4, 4).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        weights = (query @ key.transpose(2, 3) / 2).softmax(-1)
        return self.fc((weights @ value).transpose(1, 2).reshape(-1, 16, 16).mean(1))


class OnTheBatchAxis(Weird):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images.float() / 255).transpose(0, 1).contiguous().relu().transpose(0, 1)
        return self.fc(maps.amax((2, 3), keepdim=True).flatten(1))


class ConcatenatesItsInput(Weird):
    def forward(self, images: Tensor) -> Tensor:
        pictures = images.float() / 255
        return self.fc(self.conv(torch.cat([pictures, pictures * 2], 1)[:, 1:4]).mean((2, 3)))


class OneAxis(Weird):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(48, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv((images.float() / 255).flatten(1, 2)).mean(2))


class ThreeAxes(Weird):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv((images.float() / 255)[:, None]).mean((2, 3, 4)))


class LargestPlace(Weird):
    def forward(self, images: Tensor) -> Tensor:
        largest, _ = self.conv(images.float() / 255).flatten(2).max(2)
        return self.fc(largest)


class Loops(Weird):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images.float() / 255)
        for _ in range(int(maps.mean() > 0) + 2):
            maps = maps.relu() * 0.5
        return self.fc(maps.mean((2, 3)))


class Chooses(Weird):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images.float() / 255)
        doubled = maps * 2
        return self.fc((doubled if bool(maps.mean() > 100) else maps).mean((2, 3)))


class Frequencies(Weird):
    def forward(self, images: Tensor) -> Tensor:
        return self.fc(torch.fft.fft2(self.conv(images.float() / 255)).abs().mean((2, 3)))


class EmptySlice(Weird):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images.float() / 255)
        return self.fc(torch.cat([maps[:, :0], maps], 1).mean((2, 3)))


class Masks(Weird):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images.float() / 255)
        masked = torch.where(maps > maps.mean(), maps, torch.full_like(maps, -float("inf")))
        return self.fc(masked.exp().sqrt().mean((2, 3)))


class Roots(Weird):
    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images.float() / 255).relu().sqrt().mean((2, 3)))


class ByPlace(Weird):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images.float() / 255)
        return self.fc((maps * torch.arange(maps.shape[3])).mean((2, 3)))


class Flattens(Weird):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4 * 14 * 14, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images.float() / 255).relu().flatten(1))


class InPlace(Weird):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images.float() / 255)
        maps += 1
        maps[:, 0] = 0
        return self.fc(F.hardtanh(maps, inplace=True).mean((2, 3)))


class ChecksItself(Weird):
    def forward(self, images: Tensor) -> Tensor:
        logits = self.fc(self.conv(images.float() / 255).mean((2, 3)))
        assert bool(logits.isfinite().all())
        return logits


class AnyPooling(Weird):
    def forward(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(self.conv(images.float() / 255), 3, 2, 1, ceil_mode=True)
        maps = F.adaptive_avg_pool2d(F.avg_pool2d(maps, 3, 2, 1, ceil_mode=True), [3, 3])
        return self.fc(F.avg_pool2d(maps, [maps.size(2), maps.size(3)]).squeeze(3).squeeze(2))


class Upsamples(Weird):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.slope = nn.PReLU(4)
        self.mirrored = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")

    def forward(self, images: Tensor) -> Tensor:
        maps = self.slope(F.interpolate(self.up(self.conv(1 - images.float() / 255)), scale_factor=2.0))
        return self.fc(self.mirrored(maps).mean((2, 3)))


class Traced(Weird):
    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.inner = torch.jit.trace(inner.eval(), torch.zeros(2, 3, 16, 16))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.inner(images.float() / 255))


class Counts(Weird):
    calls: int

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.fc(self.conv(images.float() / 255).mean((2, 3)))


class OwnAttention(Weird):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.conv(images.float() / 255).flatten(2).transpose(1, 2)
        seen, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.fc(seen.mean(1))


class Ignores(Weird):
    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros(images.shape[0], 2)


class NoSlope(Weird):
    def forward(self, images: Tensor) -> Tensor:
        places = self.conv(images.float() / 255).argmax(1).flatten(1).sum(1)
        return F.one_hot(places % 2, 2).float()


READABLE = [
    ThroughTokens,
    Attention,
    OnTheBatchAxis,
    ConcatenatesItsInput,
    OneAxis,
    ThreeAxes,
    LargestPlace,
    Loops,
    Chooses,
    Frequencies,
    EmptySlice,
    Masks,
    Roots,
    ByPlace,
    InPlace,
    ChecksItself,
    AnyPooling,
    Upsamples,
    Traced,
    Chunks,
]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[nn.Module], Model]:
    """Export and load a network, once a class."""
    folder, loaded = tmp_path_factory.mktemp("models"), dict[str, Model]()

    def load(module: nn.Module) -> Model:
        name = type(module).__name__
        if name not in loaded:
            loaded[name] = load_model(write_weird(folder / f"{name}.pt", module))
        return loaded[name]

    return load


@pytest.mark.parametrize("network", READABLE)
def test_any_network_is_shown_down_to_its_answer(
    load: Callable[[nn.Module], Model], network: type[nn.Module]
) -> None:
    model = load(network())
    layers = answer_layers(model, PIXELS)["layers"]
    names = [layer["name"] for layer in layers]
    assert len(set(names)) == len(names)
    assert layers[-1]["numbers"] == pytest.approx(model.classify([PIXELS])[0], abs=1e-5)
    known = {"input", *names}
    for layer in layers:
        assert layer["inputs"]
        assert set(layer["inputs"]) < known
        assert np.isfinite([layer["minimum"], layer["maximum"]]).all()
        cells = np.prod(layer["output_shape"])
        if layer["name"] == "softmax":
            continue
        if len(layer["output_shape"]) > 3 or not cells:
            with pytest.raises(InvalidRequest):
                answer_cell(model, PIXELS, layer["name"], (0, 0, 0))
        else:
            assert "value" in answer_cell(model, PIXELS, layer["name"], (0, 0, 0))


@pytest.mark.parametrize("network", READABLE)
def test_any_networks_heat_maps_are_finite(
    load: Callable[[nn.Module], Model], network: type[nn.Module]
) -> None:
    model = load(network())
    for method in METHODS:
        if network is OneAxis and method != "occlusion":
            with pytest.raises(InvalidRequest, match="no feature maps"):
                answer_heat(model, PIXELS, method, "bright", 8)
            continue
        known, heat = answer_heat(model, PIXELS, method, "bright", 8)
        assert known["label"] == "bright"
        assert heat.shape == (16, 16)
        assert np.isfinite(heat).all()
        assert np.abs(heat).max() < 1e6
        assert heat.any() or (network, method) == (InPlace, "grad-cam")


def test_what_is_no_layer_of_a_lesson_is_called_other(load: Callable[[nn.Module], Model]) -> None:
    kinds = {layer["title"]: layer["kind"] for layer in answer_layers(load(Attention()), PIXELS)["layers"]}
    assert {"flatten", "transpose", "reshape", "permute", "part", "matmul"} <= {
        title for title, kind in kinds.items() if kind == "other"
    }
    kinds = {layer["title"]: layer["kind"] for layer in answer_layers(load(OneAxis()), PIXELS)["layers"]}
    assert kinds["conv1d"] == "other"
    assert {"branch", "loop"} & {layer["title"] for layer in answer_layers(load(Loops()), PIXELS)["layers"]}


def test_what_differs_from_place_to_place_is_no_scaling(load: Callable[[nn.Module], Model]) -> None:
    layers = {layer["name"]: layer for layer in answer_layers(load(ByPlace()), PIXELS)["layers"]}
    assert (layers["mul1"]["kind"], layers["mul1"]["inputs"]) == ("other", ["conv"])


def test_maps_are_weighed_by_their_mean_slope_or_cell_by_cell(load: Callable[[nn.Module], Model]) -> None:
    module = Flattens()
    with torch.no_grad():
        maps = module.conv(torch.from_numpy(PIXELS)[None].float() / 255).relu()
        slopes = module.fc.weight[1].view(1, 4, 14, 14)
    model = load(module)
    means = slopes.mean((2, 3), keepdim=True)
    by_method: list[tuple[Method, Tensor]] = [("grad-cam", means), ("hires-cam", slopes)]
    for method, weights in by_method:
        seen = (weights * maps).sum(1, keepdim=True).relu()
        expected = F.interpolate(seen, (16, 16), mode="bilinear")[0, 0]
        known, heat = answer_heat(model, PIXELS, method, "bright", 8)
        assert known["layer"] == "relu1"
        assert heat == pytest.approx(expected.detach().numpy(), rel=1e-4, abs=1e-6)


def test_grad_cam_weighs_maps_and_not_the_weights_of_an_attention(load: Callable[[nn.Module], Model]) -> None:
    for module in (Attention(), OnTheBatchAxis(), ThroughTokens()):
        known, _ = answer_heat(load(module), PIXELS, "grad-cam", None, 8)
        assert known["layer"] == "conv"


def test_what_is_overwritten_in_place_is_shown_as_it_was(load: Callable[[nn.Module], Model]) -> None:
    model = load(InPlace())
    image = torch.from_numpy(PIXELS)
    outputs = model.network.run(image)
    with torch.inference_mode():
        expected = F.conv2d(image[None].float() / 255, model.module.conv.weight, model.module.conv.bias)
    torch.testing.assert_close(outputs["conv"], expected[0])
    torch.testing.assert_close(outputs["scale2"], expected[0] + 1)


def test_poolings_of_any_kind_are_the_largest_or_the_mean_of_their_windows(
    load: Callable[[nn.Module], Model],
) -> None:
    model = load(AnyPooling())
    layers = [layer for layer in answer_layers(model, PIXELS)["layers"] if layer["kind"] == "pooling"]
    assert len(layers) == 4
    for layer in layers[:1] + layers[2:3]:  # an average at the edge counts padding
        _, height, width = layer["output_shape"]
        for row in range(height):
            for column in range(width):
                cell = answer_cell(model, PIXELS, layer["name"], (1, row, column))
                seen = [one for line in cell["window"] for one in line if one is not None]
                combine = max if layer["title"] == "max pooling" else np.mean
                if seen:
                    assert combine(seen) == pytest.approx(cell["value"], rel=1e-5)


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_same_padding_of_an_even_filter_has_its_odd_cell_at_the_end(
    load: Callable[[nn.Module], Model],
) -> None:
    class Even(Weird):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, (4, 2), padding="same", dilation=(1, 3))

        def forward(self, images: Tensor) -> Tensor:
            return self.fc(self.conv(images.float() / 255).mean((2, 3)))

    model = load(Even())
    (conv,) = (layer for layer in answer_layers(model, PIXELS)["layers"] if layer["name"] == "conv")
    assert conv["output_shape"] == [4, 16, 16]
    assert (conv["size"]["height"]["before"], conv["size"]["height"]["after"]) == (1, 2)
    for place in ((0, 0, 0), (3, 15, 15), (1, 8, 1), (2, 14, 13)):
        cell = answer_cell(model, PIXELS, "conv", place)
        assert cell["sum"] + cell["bias"] == pytest.approx(cell["value"], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("network", [Counts, OwnAttention, Ignores])
def test_a_model_whose_layers_cannot_be_read_is_served_all_the_same(
    serve: Serve, tmp_path: Path, network: type[nn.Module], cat: bytes
) -> None:
    write_weird(tmp_path / "weird.pt", network())
    client = serve(models_dir=tmp_path)

    def post(path: str, **query: str) -> httpx.Response:
        return client.post(path, files={"file": cat}, params=query)

    assert post("/predict").status_code == 200
    for answer in (post("/layers"), post("/layers/conv"), post("/explain")):
        problem = assert_problem(answer, 422, "method=occlusion work")
        assert problem["errors"][0]["field"] == "model"
    assert post("/explain", method="occlusion").status_code == 200


def test_a_network_without_slopes_is_told_to_use_occlusion(load: Callable[[nn.Module], Model]) -> None:
    model = load(NoSlope())
    with pytest.raises(InvalidRequest, match="use method=occlusion"):
        answer_heat(model, PIXELS, "grad-cam", None, 8)
    assert answer_heat(model, PIXELS, "occlusion", None, 8)[1].shape == (16, 16)


def test_occlusion_hides_every_pixel_and_adds_up_what_it_finds() -> None:
    calls: list[int] = []

    def classify(images: list[Any]) -> Any:
        """The likelihood rises with the pixel at 5, 6 alone."""
        calls.append(len(images))
        odds = np.array([np.exp(image[0, 5, 6] / 255.0) for image in images])
        return np.stack([1 / (1 + odds), odds / (1 + odds)], 1)

    image = np.zeros((1, 16, 16), np.uint8)
    image[0, 5, 6] = 255
    heat = occlusion(classify, image, 1, macs=10, batch_size=50)
    assert max(calls) <= 50
    assert sum(calls) == 1 + 13 * 13
    boxes = [box for box in patches(16, 16, 13) if 5 in range(16)[box[0]] and 6 in range(16)[box[1]]]
    near = np.zeros((16, 16), bool)
    for box in boxes:
        near[box] = True
    assert heat[5, 6] == pytest.approx(254 / 255, abs=1e-6)  # the patch has the mean: 1
    assert heat[5, 6] == heat.max()
    assert (heat[~near] == 0).all()
    assert (heat[near] > 0).all()


def test_a_costly_network_is_asked_for_fewer_positions() -> None:
    counts = []

    def classify(images: list[Any]) -> Any:
        counts.append(len(images))
        return np.full((len(images), 2), 0.5)

    image = np.zeros((3, 224, 224), np.uint8)
    for macs in (10**8, 4 * 10**9):
        counts.clear()
        assert (occlusion(classify, image, 0, macs=macs, batch_size=32) == 0).all()
        assert sum(counts) == 1 + (169 if macs == 10**8 else 49)


def test_patches_cover_every_pixel_from_edge_to_edge() -> None:
    for height, width in ((1, 1), (3, 5), (4, 4), (32, 32), (17, 224)):
        covered = np.zeros((height, width), int)
        for box in patches(height, width, 13):
            covered[box] += 1
        assert covered.min() >= 1


def test_numbers_that_are_not_finite_are_left_out_of_a_layers_range() -> None:
    output = torch.tensor([[[1.0, float("inf")], [float("nan"), 3.0]]])
    shown = show_output(output)
    assert (shown["minimum"], shown["maximum"]) == (1, 3)
    nothing = show_output(torch.full((2, 2, 2), float("nan")))
    assert (nothing["minimum"], nothing["maximum"]) == (0, 0)


@pytest.mark.parametrize("size", [(1, 1), (9, 30), (255, 255), (300, 256), (1200, 3)])
def test_a_heat_map_is_laid_over_a_picture_of_any_size(size: tuple[int, int]) -> None:
    drawn = overlay(np.full((1, *size), 200, np.uint8), np.eye(4))
    height, width = drawn.shape[1:]
    assert 256 <= max(height, width) <= 512
    assert abs(height / width - size[0] / size[1]) <= max(1, size[0] / size[1]) / 2


def test_what_speaks_against_a_class_is_grey() -> None:
    drawn = overlay(np.full((3, 4, 4), 200, np.uint8), -np.eye(4))
    assert np.ptp(drawn) == 0
    assert 0 < drawn.max() < 200


def most_memory() -> int:
    """Give the most bytes this process ever had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def test_answers_keep_no_state_no_gradient_and_no_memory() -> None:
    model = load_model(MODELS / "cifar10-lenet.pt")
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 32, 32), np.uint8)

    def ask(which: int) -> str:
        heat = answer_heat(model, pixels[which], "hires-cam", "cat", 8)[1]
        cell = answer_cell(model, pixels[which], "conv2", (3, 2, 1))
        return str((answer_layers(model, pixels[which])["layers"][-1]["numbers"], heat.tolist(), cell))

    for _ in range(8):  # until TorchScript has settled
        ask(0)
    expected = [ask(0), ask(1)]
    assert expected[0] != expected[1]
    before = most_memory()
    for count in range(100):
        assert ask(count % 2) == expected[count % 2]
    assert most_memory() - before < 40e6
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, [0, 1] * 8)) == expected * 8
    assert not any(p.requires_grad and p.grad is not None for p in model.module.parameters())
    outputs = model.network.run(torch.from_numpy(pixels[0]))
    assert not any(output.requires_grad for output in outputs.values())


def test_a_network_is_read_once_though_two_ask_at_once() -> None:
    model = load_model(MODELS / "cifar10-lenet.pt")
    pixels = np.zeros((3, 32, 32), np.uint8)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: str(answer_layers(model, pixels)), range(8)))
    assert len(set(answers)) == 1
