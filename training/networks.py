"""The networks, and the classifier that wraps one: pictures in, logits out."""

import copy
from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor, nn

from training.residual import ResNet


def lenet(classes: int, channels: int, size: int) -> nn.Sequential:
    """Build the article's network: two convolutions with pooling, then three fully connected layers.

    Takes float32 N×C×S×S in [−1, 1], gives float32 N×classes logits. Sizes by
    floor((n + 2p − f) / s) + 1: 32 → 28 → 14 → 10 → 5, so 16·5·5 = 400 numbers are flattened.
    Source: PyTorch's "Training a Classifier" tutorial, after LeCun et al. 1998 (LeNet-5).
    """
    side = ((size - 4) // 2 - 4) // 2
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2, 2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2, 2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * side * side, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, classes),
        )
    )


NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {"lenet": lenet, "resnet": ResNet}
SMALLEST, LARGEST = 32, 224  # S
PICTURES_AT_ONCE = 50  # of 224×224, the double-precision patches of each take 5 MB


class Classifier(nn.Module):
    """A network with its picture preparation, normalisation and temperature: what gets exported.

    Training, evaluation and serving all call these two methods, so they cannot drift apart.
    """

    def __init__(self, network: nn.Module, size: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        """Classify: uint8 N×C×S×S, RGB, 0..255 -> float32 N×classes logits."""
        normalised = images.to(torch.float32) / 127.5 - 1.0
        logits: Tensor = self.network(normalised)
        return logits / self.temperature

    def initialise(self, images: Tensor) -> None:
        """Let the network start from what pictures look like, if it can: uint8 N×C×S×S, 0..255."""
        if isinstance(self.network, ResNet):
            pieces = images.split(PICTURES_AT_ONCE)
            self.network.whiten(piece.to(torch.float32) / 127.5 - 1.0 for piece in pieces)

    def deployable(self) -> "Classifier":
        """Copy it as it is to be served: the same pictures, the same logits up to rounding."""
        network = self.network.deployable() if isinstance(self.network, ResNet) else self.network
        return Classifier(copy.deepcopy(network), self.size, self.temperature).eval()

    def prepare(self, image: Tensor) -> Tensor:
        """Make any picture the network's input: uint8 C×H×W -> uint8 C×S×S.

        Cuts the central square and resizes it with antialiasing (bilinear); a picture that is
        S×S already passes unchanged.
        """
        height, width = image.shape[1], image.shape[2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = image[:, top : top + side, left : left + side]
        if side == self.size:
            return square.contiguous()
        return F.interpolate(
            square.unsqueeze(0),
            size=[self.size, self.size],
            mode="bilinear",
            align_corners=False,
            antialias=True,
        ).squeeze(0)


def build(network: str, classes: int, channels: int = 3, size: int = SMALLEST) -> Classifier:
    """Build a classifier of pictures of S = `size`, with fresh weights from torch's global generator."""
    return Classifier(NETWORKS[network](classes, channels, size), size)


def count_parameters(network: nn.Module) -> int:
    """Count the learned numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(classifier: Classifier, channels: int = 3) -> int:
    """Count the multiply-adds of the convolutions and fully connected layers for one picture."""
    macs = 0

    def add(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        weight = layer.weight
        assert isinstance(weight, Tensor)
        macs += output[0].numel() * weight[0].numel()

    layers = [m for m in classifier.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    device = next(classifier.parameters()).device
    size = classifier.size
    with torch.no_grad():
        classifier(torch.zeros(1, channels, size, size, dtype=torch.uint8, device=device))
    for hook in hooks:
        hook.remove()
    return macs
