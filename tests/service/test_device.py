"""Classifying on another device: the same answers, or a start that fails with a sentence."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from service.errors import StartError
from service.model import load_model
from service.settings import Settings
from service.shelf import check_device, load_warm
from tests.artefacts import Brightness, write_artefact
from tests.conftest import MODELS

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
BATCH = list(np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), np.uint8))


# On the CPU the way is the same one: another copy of the graph, pictures there and logits back.
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_A_GPU)])
@pytest.mark.parametrize("name", ["cifar10-lenet", "cifar10-resnet"])
def test_a_moved_model_answers_as_before(name: str, device: str) -> None:
    model = load_model(MODELS / f"{name}.pt")
    plain = model.classify(BATCH)
    model.move(torch.device(device))
    assert model.way == f"on {device}"
    np.testing.assert_allclose(model.classify(BATCH), plain, atol=1e-3)
    assert next(model.module.parameters()).device.type == "cpu"  # for looking inside


def test_a_graph_that_answers_otherwise_there_is_refused(tmp_path: Path) -> None:
    class Dice(Brightness):
        def forward(self, images: Tensor) -> Tensor:
            return torch.randn(len(images), 2) * 1000

    model = load_model(write_artefact(tmp_path / "light.pt", Dice()))
    with pytest.raises(ArithmeticError, match=r"differ by .* from the CPU's"):
        model.move(torch.device("cpu"))
    assert model.way == "as it is"


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_a_device_that_is_not_there_ends_the_start() -> None:
    check_device("cpu")
    with pytest.raises(
        StartError, match=r"STRIDE_DEVICE=cuda: this is a torch .* (finds no GPU|has no CUDA)"
    ):
        load_warm(Settings(models_dir=MODELS, device="cuda"))


def test_several_processes_do_not_share_a_gpu() -> None:
    command = [sys.executable, "-m", "service", "--port", "0", "--workers", "2"]
    done = subprocess.run(command, env={"STRIDE_DEVICE": "cuda"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: STRIDE_DEVICE=cuda: a GPU is for one process, so --workers 1\n"
