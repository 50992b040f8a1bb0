"""Read and write .npy, NumPy's own array format, without trusting whoever sent it."""

from io import BytesIO
from math import prod
from operator import index
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from service.arithmetic.windows import Array
from service.errors import InvalidRequest, MalformedRequest
from service.matrices.buffers import Bytes
from service.matrices.numbers import brief, path_of

NPY = "application/x-npy"

# A header of numbers is about 100 characters; NumPy's own limit leaves room for structured types.
MAX_HEADER_CHARACTERS = 2048
LONGEST_HEADER = 12 + MAX_HEADER_CHARACTERS  # after 6 bytes of magic, 2 of version and 4 of length
READERS: dict[tuple[int, int], Any] = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def read_npy(body: Bytes, *, max_cells: int) -> Array:
    """Read a 2-D or 3-D array of finite numbers, of any real type, as float64 in C order.

    Nothing is unpickled: `numpy.load` is not called, and the numbers are looked at only when there
    are as many bytes as the header promises. Raises MalformedRequest for what is no .npy,
    InvalidRequest for an array of another kind.
    """
    stream = BytesIO(body[:LONGEST_HEADER])
    shape, fortran_order, dtype = _read_header(stream)
    _check_kind(shape, dtype, max_cells)
    promised, present = prod(shape) * dtype.itemsize, len(body) - stream.tell()
    if promised != present:
        raise MalformedRequest(
            f"the .npy header promises {promised} bytes of numbers; {present} follow", field="image"
        )
    cells = np.frombuffer(body, dtype, offset=stream.tell())
    array = cells.reshape(shape, order="F" if fortran_order else "C")
    array = np.ascontiguousarray(array, dtype=np.float64)
    if not np.isfinite([array.max(), array.min()]).all():
        where = path_of("image", shape, int(np.argmin(np.isfinite(array))))
        raise InvalidRequest(f"{where} is not a finite number", field="image")
    return array


def _read_header(stream: BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy_format.read_magic(stream)
        header: tuple[tuple[int, ...], bool, np.dtype[Any]]
        header = READERS[version](stream, MAX_HEADER_CHARACTERS)
        shape = tuple(map(index, header[0]))  # True passes NumPy's reader as a size
    except Exception:  # a literal from a stranger is evaluated: whatever that raises means one thing
        raise MalformedRequest("the body is not .npy of version 1.0 or 2.0", field="image") from None
    return shape, *header[1:]


def _check_kind(shape: tuple[int, ...], dtype: np.dtype[Any], max_cells: int) -> None:
    size = "×".join(brief(length) for length in shape[:4]) or "a single number"
    if len(shape) > 4:
        size += f"×… ({len(shape)} axes)"
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise InvalidRequest(
            f"the array holds {dtype.name}; send booleans, integers or floats of at most 64 bits",
            field="image",
        )
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise InvalidRequest(f"the array is {size}; send 2 or 3 axes, none empty", field="image")
    if prod(shape) > max_cells:
        raise InvalidRequest(
            f"the array is {size}, {brief(prod(shape))} cells; the limit is {max_cells}", field="image"
        )


def write_npy(array: Array) -> bytes:
    """Write float64 in C order, as .npy version 1.0."""
    array = np.ascontiguousarray(array)
    header = BytesIO()
    npy_format.write_array_header_1_0(header, npy_format.header_data_from_array_1_0(array))
    return b"".join([header.getvalue(), array.data.cast("B")])  # one copy, where a stream makes three
