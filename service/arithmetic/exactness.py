"""Tell when numbers held as doubles are whole and nothing of them was rounded away."""

import numpy as np

from service.arithmetic.windows import Array

# Below 2**53 every whole number is a double of its own.
EXACT_BELOW = 2.0**53


def is_whole(array: Array) -> bool:
    return bool((np.rint(array) == array).all())


def largest_magnitude(array: Array) -> float:
    return max(float(array.max()), -float(array.min()))
