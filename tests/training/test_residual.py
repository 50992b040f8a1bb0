"""The residual network: sizes, its whitened start, and what folding and half precision leave unchanged."""

from pathlib import Path

import pytest
import torch

from training.data import Data
from training.export import load_artefact, save_artefact
from training.networks import Classifier, build, count_macs, count_parameters
from training.residual import ResNet


@pytest.fixture
def trained(data: Data) -> Classifier:
    """Give a network whose normalisations have seen pictures, as after training."""
    torch.manual_seed(0)
    classifier = build("resnet", 3)
    classifier.initialise(data.train.images)
    for _ in range(3):
        classifier.train()(data.train.images)
    for layer in classifier.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias)
    return classifier.eval()


def test_its_size_is_what_the_documentation_says() -> None:
    classifier = build("resnet", 10).deployable()
    assert count_parameters(classifier) == 4_185_504
    assert count_macs(classifier) == 143_953_440


@pytest.mark.parametrize("size", [32, 33, 48, 63, 64, 96, 127, 128, 160, 224])
def test_it_takes_pictures_of_every_size(size: int) -> None:
    classifier = build("resnet", 5, size=size).eval()
    with torch.inference_mode():
        assert classifier(torch.zeros(2, 3, size, size, dtype=torch.uint8)).shape == (2, 5)
    assert count_macs(classifier) < 850e6, "large pictures are read in larger steps"


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_first_layer_whitens_what_it_was_shown(size: int) -> None:
    chance = torch.Generator().manual_seed(0)
    noise = torch.randn(64, 3, size, size, generator=chance)
    smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2) * 2  # neighbours alike
    network = ResNet(10, 3, size)
    network.whiten(smooth.split(20))
    with torch.inference_mode():
        found = network.stem(smooth).transpose(0, 1).flatten(1)
    half = len(found) // 2
    assert torch.allclose(found[:half], -found[half:], atol=1e-4)
    covariance = found[:half] @ found[:half].T / found.shape[1]
    assert torch.allclose(covariance, torch.diag(covariance.diag()), atol=0.02), "uncorrelated"
    assert covariance.diag()[0] == pytest.approx(1, abs=0.02)
    assert not network.stem.weight.requires_grad


def test_it_starts_by_handing_its_inputs_through() -> None:
    stage = ResNet(10, 3, 32).stages[1]
    values = torch.randn(2, 64, 8, 8)
    assert torch.equal(stage.conv1(values)[:, :64], values)


def test_the_deployable_copy_answers_as_the_network(trained: Classifier, data: Data) -> None:
    deployed = trained.deployable()
    with torch.inference_mode():
        expected, found = trained(data.test.images), deployed(data.test.images)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.005 * expected.abs().max()
    assert (found - expected).abs().max() > 0, "its weights are rounded to half precision"
    assert all(p.dtype == torch.float16 for p in deployed.parameters() if p.dim() > 1)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in deployed.modules())
    assert all(p.dtype == torch.float32 for p in trained.parameters()), "the network itself is as it was"
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in trained.modules())


def test_its_file_is_small_exact_and_as_quick_on_single_pictures(
    trained: Classifier, data: Data, tmp_path: Path
) -> None:
    deployed = trained.deployable()
    deployed.temperature = 0.7
    save_artefact(tmp_path / "model.pt", deployed, {}, data.test.images)
    assert (tmp_path / "model.pt").stat().st_size < 8.6e6
    module, _ = load_artefact(tmp_path / "model.pt")
    with torch.inference_mode():
        found = module(data.test.images)
        assert torch.allclose(found, deployed(data.test.images), atol=1e-5)
        trained.temperature = 1.0
        assert torch.allclose(found * 0.7, trained(data.test.images), atol=0.02)
    strides = [p.stride() for p in module.parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert all(stride[1] == 1 for stride in strides), "channels last, twice as quick for one picture on a CPU"


def test_a_classifier_of_another_kind_has_nothing_to_fold(data: Data) -> None:
    classifier = build("lenet", 3).eval()
    deployed = classifier.deployable()
    with torch.inference_mode():
        assert torch.equal(deployed(data.test.images), classifier(data.test.images))
    assert deployed.network is not classifier.network
