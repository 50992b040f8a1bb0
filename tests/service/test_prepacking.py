"""Rewritten graphs: the same answers, and the plain graph where a rewrite does not work out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service import model as models
from service.model import Model, load_model
from service.prepacking import multiplies_bfloat16, prepack
from tests.artefacts import Brightness, write_artefact

ROOT = Path(__file__).parents[2]


class Network(Brightness):
    """Whatever `layers` are, between pictures and two logits."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layer = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.float() / 127.5 - 1).mean((2, 3))


class Branches(Brightness):
    """A residual sum, an activation that stays in float32, and a constant that meets a bfloat16 value."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.layer = nn.Conv2d(8, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        found = nn.functional.gelu(self.first(images.float() / 127.5 - 1))
        found = torch.sigmoid(found + self.second(found)) * 2 - 1
        return torch.softmax(self.layer(found), 1).amax((2, 3)) * 3


NETWORKS = {
    "plain": lambda: Network(nn.Conv2d(3, 2, 3)),
    "padded, strided, without bias": lambda: Network(nn.Conv2d(3, 2, 3, 2, 1, bias=False)),
    "dilated": lambda: Network(nn.Conv2d(3, 2, 2, dilation=2)),
    "grouped": lambda: Network(nn.Conv2d(3, 6, 3, groups=3), nn.ReLU(), nn.Conv2d(6, 2, 1)),
    "same padding": lambda: Network(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 2, 3)),
    "pooled": lambda: Network(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.GELU(), nn.Conv2d(4, 2, 2)),
    "normalised": lambda: Network(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sigmoid(), nn.Conv2d(8, 2, 1)),
    "branches": Branches,
}


def pictures(count: int, side: int = 4) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rewritten_graph_gives_the_same_logits(network: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = torch.jit.script(NETWORKS[network]().eval())
    with torch.inference_mode():
        quicker = prepack(torch.jit.freeze(module).graph, pictures(2), dtype)
        assert quicker is not None
        for count in (1, 2, 7, 33):
            batch = pictures(count)
            given, expected = quicker(batch), module(batch)
            assert given.dtype == torch.float32
            tolerance = 1e-5 if dtype == torch.float32 else 0.05
            torch.testing.assert_close(given, expected, rtol=0, atol=tolerance)


def test_a_graph_without_convolutions_is_left_alone() -> None:
    class Mean(Brightness):
        def forward(self, images: Tensor) -> Tensor:
            return images.float().mean((2, 3))[:, :2]

    frozen = torch.jit.freeze(torch.jit.script(Mean().eval()))
    assert prepack(frozen.graph, pictures(2), torch.float32) is None


def accelerated(path: Path, *, bfloat16: bool) -> Model:
    model = load_model(path)
    model.accelerate(bfloat16=bfloat16)
    return model


def test_the_committed_models_answer_as_before() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), np.uint8)
    batch[8:] //= 4
    for name in ("cifar10-lenet", "cifar10-resnet"):
        path = ROOT / "models" / f"{name}.pt"
        plain = load_model(path).classify(list(batch))
        quick = accelerated(path, bfloat16=False)
        assert quick.way == ("optimised" if name == "cifar10-lenet" else "prepacked, float32")
        np.testing.assert_allclose(quick.classify(list(batch)), plain, atol=1e-5)
        quick = accelerated(path, bfloat16=True)
        np.testing.assert_allclose(quick.classify(list(batch)), plain, atol=models.TOLERANCE)


@pytest.mark.skipif(not multiplies_bfloat16(), reason="this processor does not multiply bfloat16")
def test_the_large_model_computes_in_bfloat16_where_the_processor_does() -> None:
    assert accelerated(ROOT / "models" / "cifar10-resnet.pt", bfloat16=True).way == "prepacked, bfloat16"


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda *_: 1 / 0,
        lambda *_: lambda images: torch.zeros(len(images), 2),
        lambda *_: None,
    ],
    ids=["fails", "answers otherwise", "finds nothing"],
)
def test_a_rewrite_that_does_not_work_out_is_not_used(
    rewrite: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_artefact(tmp_path / "light.pt", macs=models.LARGE_MACS)
    monkeypatch.setattr(models, "prepack", rewrite)
    model = accelerated(path, bfloat16=False)
    assert model.way == "as it is"
    assert model.infer is model.module


def test_a_rewrite_that_is_slower_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_artefact(tmp_path / "light.pt", macs=models.LARGE_MACS)

    def sleepy(graph: object, example: Tensor, dtype: torch.dtype) -> object:
        quicker = prepack(graph, example, dtype)
        assert quicker is not None
        return lambda images: (torch.randn(2000, 2000) @ torch.randn(2000, 2000), quicker(images))[1]

    monkeypatch.setattr(models, "prepack", sleepy)
    assert accelerated(path, bfloat16=False).way == "as it is"
