"""A residual network for small pictures: what one would deploy where the article's network is the lesson."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.winograd import WinogradConv2d

WIDTHS = (64, 192, 384)
WHITENING_EPSILON = 5e-4  # keeps directions that hardly vary (JPEG's) from being blown up to noise
MOST_DIRECTIONS = 32  # of a patch: enough for all 12 of 2×2 RGB; the weakest of larger patches are noise
LOGIT_SCALE = 1 / 9


class Stage(nn.Module):
    """Halve the picture with one convolution and a pooling, then add what two more convolutions find."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(channels, width), normalisation(width)
        self.pool = nn.MaxPool2d(2)
        self.conv2, self.norm2 = convolution(width, width), normalisation(width)
        self.conv3, self.norm3 = convolution(width, width), normalisation(width)
        self.gelu = nn.GELU()

    def forward(self, values: Tensor) -> Tensor:
        """Take float32 N×C×H×W, give float32 N×width×H/2×W/2."""
        halved: Tensor = self.gelu(self.norm1(self.pool(self.conv1(values))))
        found = self.gelu(self.norm2(self.conv2(halved)))
        result: Tensor = self.gelu(halved + self.norm3(self.conv3(found)))
        return result


class ResNet(nn.Module):
    """Whitened patches, three residual stages, the largest value of each map, one fully connected layer.

    Takes float32 N×C×S×S in [−1, 1], gives float32 N×classes logits, for S of 32 and more: a picture
    of 64 or 128 pixels is read in steps of 2 or 4, so that the stages always see 31 to 63 a side.
    Sources: He et al. 2016 (residual connections); Jordan 2024, "94% on CIFAR-10 in 3.29 seconds"
    (whitened patches, widths, identity start).
    """

    def __init__(self, classes: int, channels: int, size: int) -> None:
        super().__init__()
        step = 4 if size >= 128 else 2 if size >= 64 else 1
        directions = min(channels * (2 * step) ** 2, MOST_DIRECTIONS)
        self.stem = nn.Conv2d(channels, 2 * directions, 2 * step, stride=step, bias=False)
        self.stem.weight.requires_grad_(False)
        self.gelu = nn.GELU()
        inputs = (2 * directions, *WIDTHS[:-1])
        self.stages = nn.Sequential(*(Stage(*sizes) for sizes in zip(inputs, WIDTHS, strict=True)))
        self.head = nn.Linear(WIDTHS[-1], classes, bias=False)
        self.scale = LOGIT_SCALE

    def forward(self, pictures: Tensor) -> Tensor:
        found = self.stages(self.gelu(self.stem(pictures)))
        logits: Tensor = self.head(found.amax((2, 3))) * self.scale
        return logits

    @torch.no_grad()
    def whiten(self, pictures: Iterable[Tensor]) -> None:
        """Set the first layer to the principal directions of these pictures' patches, each also negated.

        `pictures` come in pieces, float32 N×C×S×S in [−1, 1]. The layer's outputs have about unit variance
        each and are uncorrelated, which no gradient has to find first; it is not trained.
        """
        patch, step, directions = self.stem.kernel_size[0], self.stem.stride[0], self.stem.out_channels // 2
        products, count = torch.zeros((), dtype=torch.float64), 0
        for some in pictures:
            patches = nn.functional.unfold(some, patch, stride=step).transpose(1, 2).flatten(0, 1).double()
            products, count = products + patches.T @ patches, count + len(patches)
        variances, vectors = torch.linalg.eigh(products / count)
        scaled = vectors / (variances + WHITENING_EPSILON).sqrt()
        filters = scaled.T.flip(0)[:directions].reshape(directions, *self.stem.weight.shape[1:])
        self.stem.weight.copy_(torch.cat([filters, -filters]))

    def deployable(self) -> "ResNet":
        """Copy the network for serving: normalisations folded into convolutions, weights in half precision.

        The first saves a pass over every map (through the pooling between, too: their scale is
        positive), the second half of the file. The arithmetic stays float32.
        """
        folded = copy.deepcopy(self).eval()
        for stage in folded.stages:
            for index in "123":
                conv, norm = getattr(stage, f"conv{index}"), getattr(stage, f"norm{index}")
                setattr(stage, f"conv{index}", fuse_conv_bn_eval(conv, norm))
                setattr(stage, f"norm{index}", nn.Identity())
        for layer in folded.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.__class__ = HalfConv2d if isinstance(layer, nn.Conv2d) else HalfLinear
                layer.weight.data = layer.weight.data.half()
        return folded.requires_grad_(False).to(memory_format=torch.channels_last)


class HalfConv2d(nn.Conv2d):
    """A convolution that keeps its weights in half precision and computes as its input does."""

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self._conv_forward(values, self.weight.to(values.dtype), self.bias)
        return result


class HalfLinear(nn.Linear):
    """A fully connected layer that keeps its weights in half precision and computes as its input does."""

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = nn.functional.linear(values, self.weight.to(values.dtype), self.bias)
        return result


def convolution(channels: int, width: int) -> nn.Conv2d:
    """Make a 3×3 convolution that starts by handing its inputs through, as far as it has filters."""
    layer = WinogradConv2d(channels, width, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[:channels])
    return layer


def normalisation(width: int) -> nn.BatchNorm2d:
    """Make a batch normalisation without a learned scale: the next layer's weights can be that."""
    layer = nn.BatchNorm2d(width, momentum=0.2)
    layer.weight.requires_grad_(False)
    return layer
