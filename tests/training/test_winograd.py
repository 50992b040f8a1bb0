"""Winograd's filtering: the same convolution, the same gradients."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from training import winograd
from training.winograd import Winograd, WinogradConv2d, pays


@pytest.mark.parametrize("pictures", [1, 30])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (4, 8), (15, 6), (1, 1)])
def test_it_is_the_convolution_with_its_gradients(pictures: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    values = torch.randn(pictures, 5, height, width, requires_grad=True)
    weight = torch.randn(8, 5, 3, 3, requires_grad=True)
    gradient = torch.randn(pictures, 8, height, width)
    wanted, found = (
        (outputs.detach(), *torch.autograd.grad(outputs, (values, weight), gradient))
        for outputs in (F.conv2d(values, weight, padding=1), Winograd.apply(values, weight))
    )
    for one, other in zip(wanted, found, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() < 3e-5 * one.abs().max()


def test_a_layer_filters_so_while_it_trains_and_plainly_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, values = WinogradConv2d(128, 128, 3, padding=1, bias=False), torch.randn(2, 128, 8, 8)
    plain = F.conv2d(values, layer.weight, padding=1)
    trained = layer(values)
    assert not torch.equal(trained, plain)
    assert torch.allclose(trained, plain, atol=1e-4)
    assert torch.equal(layer.eval()(values), plain)


@pytest.mark.parametrize(
    ("channels", "side", "expected"), [(128, 7, True), (128, 4, True), (128, 5, False), (64, 8, False)]
)
def test_it_is_left_where_the_transforms_cost_more_than_is_saved(
    channels: int, side: int, expected: bool
) -> None:
    weight = torch.randn(128, channels, 3, 3)
    assert pays(torch.randn(1, channels, side, side), weight) is expected


def test_half_precision_is_left_to_the_plain_convolution() -> None:
    values, weight = torch.randn(1, 128, 8, 8), torch.randn(128, 128, 3, 3)
    assert pays(values, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not pays(values, weight)


def test_pictures_are_filtered_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert winograd.pieces(40, (2, 2)) == [(0, 16), (16, 32), (32, 40)]
    assert winograd.pieces(2, (9, 9)) == [(0, 1), (1, 2)]
