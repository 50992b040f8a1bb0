"""The article's network, and how any picture becomes its input."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as torchvision

from training.networks import Classifier, build, count_macs, count_parameters


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    chance = torch.Generator().manual_seed(height * 10_000 + width)
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=chance)


@pytest.fixture(scope="module")
def lenet() -> Classifier:
    torch.manual_seed(0)
    return build("lenet", 10).eval()


def test_lenets_layers_have_the_articles_sizes(lenet: Classifier) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, output, name=name: shapes.update({name: output.shape[1:]}))
        for name, layer in lenet.network.named_children()
    ]
    lenet(picture(32, 32)[None])
    for hook in hooks:
        hook.remove()
    assert list(shapes.items()) == [
        ("conv1", (6, 28, 28)),
        ("relu1", (6, 28, 28)),
        ("pool1", (6, 14, 14)),
        ("conv2", (16, 10, 10)),
        ("relu2", (16, 10, 10)),
        ("pool2", (16, 5, 5)),
        ("flatten", (400,)),
        ("fc1", (120,)),
        ("relu3", (120,)),
        ("fc2", (84,)),
        ("relu4", (84,)),
        ("fc3", (10,)),
    ]


def test_lenet_has_the_articles_number_of_weights(lenet: Classifier) -> None:
    convolutions = 6 * (5 * 5 * 3 + 1) + 16 * (5 * 5 * 6 + 1)
    connections = 120 * (400 + 1) + 84 * (120 + 1) + 10 * (84 + 1)
    assert count_parameters(lenet) == convolutions + connections == 62_006


def test_multiply_adds_are_counted_as_by_hand(lenet: Classifier) -> None:
    convolutions = 6 * 28 * 28 * (5 * 5 * 3) + 16 * 10 * 10 * (5 * 5 * 6)
    connections = 400 * 120 + 120 * 84 + 84 * 10
    assert count_macs(lenet) == convolutions + connections == 651_720
    assert not any(layer._forward_hooks for layer in lenet.modules()), "counting leaves nothing behind"


def test_classes_and_channels_are_what_was_asked_for() -> None:
    logits = build("lenet", 7, channels=1)(picture(32, 32, channels=1)[None])
    assert logits.shape == (1, 7)
    assert logits.dtype == torch.float32


def test_bytes_are_normalised_to_minus_one_to_one_inside(lenet: Classifier) -> None:
    seen = Classifier(nn.Identity(), 32)(torch.tensor([0, 51, 127, 128, 255], dtype=torch.uint8))
    assert seen.tolist() == pytest.approx([-1, -0.6, -1 / 255, 1 / 255, 1], abs=1e-6)
    assert (seen[0], seen[-1]) == (-1, 1)


def test_the_temperature_divides_the_logits(lenet: Classifier) -> None:
    batch = picture(32, 32)[None]
    assert torch.equal(Classifier(lenet.network, 32, temperature=2.0)(batch), lenet(batch) / 2)


def test_a_picture_that_fits_passes_unchanged(lenet: Classifier) -> None:
    fitting = picture(32, 32)
    assert torch.equal(lenet.prepare(fitting), fitting)


@pytest.mark.parametrize(("height", "width", "top", "left"), [(32, 51, 0, 9), (51, 32, 9, 0), (33, 32, 0, 0)])
def test_the_central_square_is_cut_out(
    lenet: Classifier, height: int, width: int, top: int, left: int
) -> None:
    whole = picture(height, width)
    assert torch.equal(lenet.prepare(whole), whole[:, top : top + 32, left : left + 32])


@pytest.mark.parametrize(("height", "width"), [(64, 64), (97, 61), (300, 451), (33, 1000), (20, 40), (5, 7)])
def test_the_square_is_resized_with_antialiasing_as_torchvision_does(
    lenet: Classifier, height: int, width: int
) -> None:
    whole, side = picture(height, width), min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = whole[:, top : top + side, left : left + side]
    expected = torchvision.resize(
        square, [32, 32], interpolation=torchvision.InterpolationMode.BILINEAR, antialias=True
    )
    assert torch.equal(lenet.prepare(whole), expected)


def test_fine_checkers_shrink_to_grey_and_not_to_stripes(lenet: Classifier) -> None:
    rows, columns = torch.meshgrid(torch.arange(323), torch.arange(323), indexing="ij")
    checkers = ((rows + columns) % 2 * 255).to(torch.uint8).expand(3, -1, -1)
    small = lenet.prepare(checkers)[:, 1:-1, 1:-1].int()
    assert small.min() >= 125
    assert small.max() <= 130


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 1000), (1000, 1), (2, 3), (31, 31), (33, 33), (3000, 2)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_becomes_the_input(lenet: Classifier, height: int, width: int, channels: int) -> None:
    prepared = lenet.prepare(picture(height, width, channels))
    assert prepared.shape == (channels, 32, 32)
    assert prepared.dtype == torch.uint8


def test_how_a_picture_lies_in_memory_makes_no_difference(lenet: Classifier) -> None:
    """Training reads H×W×C and turns it, the service reads C×H×W: both must see the same input."""
    turned = picture(97, 61).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not turned.is_contiguous()
    assert torch.equal(lenet.prepare(turned), lenet.prepare(turned.contiguous()))


def test_equal_seeds_draw_equal_weights() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(torch.cat([weight.flatten() for weight in build("lenet", 3).parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
