"""The optimisers: Muon's steps are orthogonal, and each weight is in one optimiser's hands."""

from dataclasses import replace

import pytest
import torch

from training.networks import build
from training.optimisers import Muon, optimisers_for, orthogonal
from training.recipes import RECIPES


@pytest.mark.parametrize("shape", [(8, 8), (4, 30), (30, 4), (64, 576), (256, 64)])
def test_orthogonal_brings_every_singular_value_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.max() < 1.3
    assert values.median() > 0.5
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonal(matrix) @ right.T
    assert torch.allclose(turned, torch.diag(turned.diag()), atol=1e-3), "no direction is turned"


def test_a_step_has_the_size_of_the_rate_whatever_the_gradient() -> None:
    moved = []
    for scale in (1e-6, 1.0, 1e6):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(16, 8, 3, 3))
        weight.data *= 16**0.5 / weight.data.norm()
        before = weight.detach().clone()
        weight.grad = torch.randn(16, 8, 3, 3) * scale
        Muon([{"params": [weight], "peak": 0.1}], lr=0.1, momentum=0.6).step()
        moved.append(weight.detach() - before)
    assert torch.allclose(moved[0], moved[1], atol=1e-3)
    assert torch.allclose(moved[1], moved[2], atol=1e-3)
    assert torch.linalg.svdvals(moved[1].flatten(1)).median() == pytest.approx(0.1, rel=0.4)


def test_weights_are_brought_back_to_their_norm() -> None:
    weight = torch.nn.Parameter(torch.randn(16, 8, 3, 3) * 50)
    weight.grad = torch.randn(16, 8, 3, 3)
    Muon([{"params": [weight], "peak": 0.0}], lr=0.0, momentum=0.6).step()
    assert weight.detach().norm() == pytest.approx(4)


def test_every_trained_weight_is_in_one_group_and_the_first_layer_in_none() -> None:
    network = build("resnet", 10)
    muon, sgd = optimisers_for(network, RECIPES["modern"])
    filters = muon.param_groups[0]["params"]
    others = [weight for group in sgd.param_groups for weight in group["params"]]
    held = [id(weight) for weight in filters + others]
    assert len(held) == len(set(held))
    assert set(held) == {id(weight) for weight in network.parameters() if weight.requires_grad}
    assert all(weight.dim() == 4 for weight in filters)
    assert id(network.network.stem.weight) not in held
    assert len(filters) == 9


def test_the_rate_asked_for_is_muons() -> None:
    recipe = replace(RECIPES["modern"], learning_rate=0.123)
    muon, sgd = optimisers_for(build("resnet", 10), recipe)
    assert muon.param_groups[0]["peak"] == 0.123
    assert [group["peak"] for group in sgd.param_groups] == [0.67, 0.053]
