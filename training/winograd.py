"""3×3 convolution by Winograd's minimal filtering: 36 products where 144 are due, for training on CPUs.

A tile of 4×4 outputs depends on 6×6 inputs. Both tile and filter are transformed, multiplied place by
place (36 matrix products over channels), and transformed back: Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A.
Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", F(4×4, 3×3).
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

TILE, SEEN = 4, 6  # outputs and inputs a side
TILES_AT_ONCE = 64  # a thread, so that what they become stays in the processor's cache
LEAST_FILTERS = 128 * 128  # fewer, and the transforms cost more than is saved
LEAST_USED = 0.7  # of the tiles' outputs: the rest is computed for nothing

INPUT = torch.tensor(  # Bᵀ
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
FILTER = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24  # G
OUTPUT = torch.tensor(
    [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)  # Aᵀ
# On rows and columns at once: 36×36, 36×9, 16×36.
INPUTS, FILTERS, OUTPUTS = (torch.kron(each, each) for each in (INPUT, FILTER, OUTPUT))


class WinogradConv2d(nn.Conv2d):
    """A 3×3 convolution, stride 1, padding 1, no bias: trained by Winograd's filtering where that pays.

    Takes and gives float32 N×C×H×W; its results differ from `nn.Conv2d`'s by rounding, about 10⁻⁵ of the
    largest.
    """

    def forward(self, values: Tensor) -> Tensor:
        if self.training and pays(values, self.weight):
            result: Tensor = Winograd.apply(values, self.weight)
            return result
        return super().forward(values)


def pays(values: Tensor, weight: Tensor) -> bool:
    """Say whether filtering is faster than convolving: on a CPU, many filters, tiles well filled."""
    height, width = values.shape[2:]
    rows, columns = tiles_of(height, width)
    used = height * width / (rows * columns * TILE**2)
    plain = values.device.type == "cpu" and values.dtype == weight.dtype == torch.float32
    # Compiled, it would be made anew for every size of pictures, and be no faster.
    plain = plain and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    return plain and weight.shape[:2].numel() >= LEAST_FILTERS and used >= LEAST_USED


class Winograd(torch.autograd.Function):
    """The convolution and both of its gradients, tiles by tiles."""

    @staticmethod
    def forward(context: Any, values: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(values, weight)
        pictures = values.permute(0, 2, 3, 1)
        filters = transformed(weight.permute(2, 3, 1, 0))
        size = tiles_of(*pictures.shape[1:3])
        padded, outputs = pad(pictures), tiled(pictures, len(weight))
        for start, stop in pieces(len(pictures), size):
            inputs = INPUTS @ tiles(padded[start:stop], size)
            outputs[start:stop] = filtered(inputs, filters, size)
        return joined(outputs, values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        values, weight = context.saved_tensors
        pictures, gradient = (each.permute(0, 2, 3, 1) for each in (values, gradients[0]))
        count, channels = weight.shape[:2]
        # Of the inputs: the convolution of the outputs' gradient with the filters turned by 180°.
        turned = transformed(weight.flip(2, 3).permute(2, 3, 0, 1))
        of_filters = values.new_zeros(SEEN**2, channels, count)
        size = tiles_of(*pictures.shape[1:3])
        padded, padded_gradient = pad(pictures), pad(gradient)
        of_inputs = tiled(pictures, channels)
        for start, stop in pieces(len(pictures), size):
            inputs = (INPUTS @ tiles(padded[start:stop], size)).view(SEEN**2, -1, channels)
            seen = tiles(padded_gradient[start:stop], size)
            inner = seen.view(SEEN, SEEN, -1)[1:-1, 1:-1].reshape(TILE**2, -1)
            of_filters.baddbmm_(inputs.transpose(1, 2), (OUTPUTS.T @ inner).view(SEEN**2, -1, count))
            of_inputs[start:stop] = filtered(INPUTS @ seen, turned, size)
        of_weight = (FILTERS.T @ of_filters.flatten(1)).view(3, 3, channels, count).permute(3, 2, 0, 1)
        return joined(of_inputs, values), of_weight


def tiles_of(height: int, width: int) -> tuple[int, int]:
    """Give the tiles that cover so many outputs: rows, columns."""
    return -(-height // TILE), -(-width // TILE)


def pieces(count: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Divide so many pictures into pieces that stay in the cache: start and stop of each."""
    step = max(1, TILES_AT_ONCE * torch.get_num_threads() // (size[0] * size[1]))
    return [(start, min(count, start + step)) for start in range(0, count, step)]


def transformed(filters: Tensor) -> Tensor:
    """Transform 3×3×C×K filters: 36×C×K."""
    return (FILTERS @ filters.flatten(2).flatten(0, 1)).view(SEEN**2, *filters.shape[2:])


def pad(pictures: Tensor) -> Tensor:
    """Add the convolution's border of zeros, and what is missing to whole tiles: N×H×W×C."""
    height, width = pictures.shape[1:3]
    rows, columns = tiles_of(height, width)
    return F.pad(pictures, (0, 0, 1, TILE * columns - width + 1, 1, TILE * rows - height + 1))


def tiles(padded: Tensor, size: tuple[int, int]) -> Tensor:
    """Copy the overlapping tiles of padded pictures N×H×W×C: 36×(N·tiles·C)."""
    picture, row, column, channel = padded.stride()
    shape = (SEEN, SEEN, len(padded), *size, padded.shape[-1])
    strides = (row, column, picture, TILE * row, TILE * column, channel)
    return padded.as_strided(shape, strides, padded.storage_offset()).reshape(SEEN**2, -1)


def filtered(inputs: Tensor, filters: Tensor, size: tuple[int, int]) -> Tensor:
    """Multiply transformed tiles by transformed filters, and transform back: N×rows×4×columns×4×K."""
    channels, count = filters.shape[1:]
    products = torch.bmm(inputs.view(SEEN**2, -1, channels), filters)
    found = (OUTPUTS @ products.flatten(1)).view(TILE, TILE, -1, *size, count)
    return found.permute(2, 3, 0, 4, 1, 5)


def tiled(pictures: Tensor, channels: int) -> Tensor:
    """Make room for outputs, tile by tile: N×rows×4×columns×4×channels."""
    rows, columns = tiles_of(*pictures.shape[1:3])
    return pictures.new_empty(len(pictures), rows, TILE, columns, TILE, channels)


def joined(outputs: Tensor, values: Tensor) -> Tensor:
    """Put tiles together and leave out what goes beyond `values`' H×W: N×K×H×W, channels-last."""
    height, width = values.shape[2:]
    whole = outputs.flatten(3, 4).flatten(1, 2)[:, :height, :width]
    return whole.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
