"""Artefacts: what is served, and what is refused at the start in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.errors import ArtefactError
from service.model import load_model, load_models
from tests.artefacts import Brightness, write_artefact


class NoPrepare(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((1, 2, 3))[:, None].expand(-1, 2)


class OneLogit(Brightness):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((1, 2, 3))[:, None]


class Raises(Brightness):
    def forward(self, images: Tensor) -> Tensor:
        return images.view(7, -1).float()


class NotANumber(Brightness):
    def forward(self, images: Tensor) -> Tensor:
        return torch.full([images.shape[0], 2], float("nan"))


class Darkens(Brightness):
    @torch.jit.export
    def prepare(self, image: Tensor) -> Tensor:
        return image[:, :4, :4] // 2


class PreparesFloats(Brightness):
    @torch.jit.export
    def prepare(self, image: Tensor) -> Tensor:
        return torch.zeros(3, 4, 4)


def test_a_good_artefact_classifies(tmp_path: Path) -> None:
    model = load_model(write_artefact(tmp_path / "light.pt"))
    prepared = model.prepare(np.full((3, 50, 20), 255, np.uint8))
    assert prepared.shape == (3, 4, 4)
    assert model.classify([prepared])[0] == pytest.approx([1 / (1 + np.exp(6)), 1 / (1 + np.exp(-6))])
    assert model.filters().shape == (2, 3, 1, 1)


class HalfBrightness(Brightness):
    """The same with its weights in half precision, which every call widens."""

    def __init__(self) -> None:
        super().__init__()
        self.layer.weight.data = self.layer.weight.data.half()

    def forward(self, images: Tensor) -> Tensor:
        pictures = images.float() / 127.5 - 1
        return nn.functional.conv2d(pictures, self.layer.weight.to(pictures.dtype)).mean((2, 3))


def test_weights_in_half_precision_are_widened_once(tmp_path: Path) -> None:
    half = load_model(write_artefact(tmp_path / "half.pt", HalfBrightness()))
    assert {parameter.dtype for parameter in half.module.parameters()} == {torch.float32}
    assert half.filters().dtype == torch.float32
    whole = load_model(write_artefact(tmp_path / "whole.pt"))
    picture = np.random.default_rng(0).integers(0, 256, (3, 4, 4), np.uint8)
    assert half.classify([picture])[0] == pytest.approx(whole.classify([picture])[0])


def test_the_committed_models_load_and_are_what_they_say() -> None:
    folder = Path(__file__).parents[2] / "models"
    models = load_models(folder)
    assert set(models) == {"cifar10-lenet", "cifar10-resnet"}
    lenet, resnet = (models[f"cifar10-{network}"].card for network in ("lenet", "resnet"))
    assert lenet.labels == resnet.labels
    assert len(lenet.labels) == 10
    assert lenet.parameters == 62_006
    assert 0.7 < lenet.metrics["accuracy"] < 0.8
    assert resnet.metrics["accuracy"] >= 0.91
    assert resnet.metrics["expected_calibration_error"] <= 0.015
    assert (folder / "cifar10-resnet.pt").stat().st_size <= 16_000_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "other"}, "the name is 'other'"),
        ({"labels": ["a", "b", "c"]}, "has 3 labels"),
        ({"labels": ["a", "a"]}, "same label twice"),
        ({"labels": None}, "'labels'"),
        ({"schema": 2}, "'schema'"),
        ({"input": {"height": 5, "width": 4, "channels": 3}}, "prepare gave uint8 (3, 4, 4)"),
        ({"input": {"height": 4, "width": 4, "channels": 1}}, "does not run"),
        ({"parameters": 7}, "6 parameters"),
    ],
)
def test_a_card_that_does_not_fit_its_graph_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = write_artefact(tmp_path / "light.pt", **changes)
    with pytest.raises(ArtefactError) as refused:
        load_model(path)
    assert "light.pt" in str(refused.value)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (NoPrepare(), "no method `prepare`"),
        (OneLogit(), "forward gave (2, 1)"),
        (Raises(), "does not run"),
        (NotANumber(), "not finite"),
        (PreparesFloats(), "prepare gave float32"),
        (Darkens(), "changes a picture that fits"),
    ],
)
def test_a_graph_that_does_not_do_its_work_is_refused(tmp_path: Path, module: nn.Module, says: str) -> None:
    parameters = sum(parameter.numel() for parameter in module.parameters())
    with pytest.raises(ArtefactError, match=says.replace("(", r"\(").replace(")", r"\)")):
        load_model(write_artefact(tmp_path / "light.pt", module, parameters=parameters))


def test_what_is_no_artefact_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "light.pt"
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ArtefactError, match="not a TorchScript file"):
        load_model(path)
    write_artefact(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ArtefactError, match="not a TorchScript file"):
        load_model(path)
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(ArtefactError, match="not a TorchScript file"):
        load_model(path)
    torch.jit.save(torch.jit.script(Brightness()), str(path))
    with pytest.raises(ArtefactError, match=r"no model\.json"):
        load_model(path)
    torch.jit.save(torch.jit.script(Brightness()), str(path), _extra_files={"model.json": "{"})
    with pytest.raises(ArtefactError, match="not JSON"):
        load_model(path)


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="STRIDE_MODELS_DIR"):
        load_models(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match=r"holds no \.pt file"):
        load_models(tmp_path)
