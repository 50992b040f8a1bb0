"""Write an answer that holds a large matrix as JSON, some rows at a time.

Whole, its text takes twice its size while it grows, and whole numbers another array of 64 bits besides.
"""

from io import BytesIO
from typing import Any

import numpy as np
import orjson

from service.arithmetic.windows import Array
from service.matrices.buffers import LARGE_BYTES, reserve

PIECE_CELLS = 2**13  # 64 KB; 4,000 to 65,000 take the same time, 2,000 a third more
LONGEST_NUMBER = 24  # -2.2250738585072014e-308


def write_object(output: Array, others: dict[str, Any], *, exact: bool) -> memoryview:
    """Write `{"output": [...], ...others}`: an array of any axes in any order, and at least one other.

    `exact` says that the numbers are whole and below 2**53: they are written as integers.
    """
    number: type[np.generic] = np.int64 if exact else np.float64
    end = orjson.dumps(others, option=orjson.OPT_SERIALIZE_NUMPY)
    # A number, its comma and at most two pairs of brackets and their comma around it.
    most = (LONGEST_NUMBER + 7) * output.size + len(end) + 16
    text = BytesIO() if most < LARGE_BYTES else reserve(most)
    text.write(b'{"output":')
    rows = max(PIECE_CELLS // output[0].size, 1)
    for top in range(0, len(output), rows):
        piece = np.ascontiguousarray(output[top : top + rows], dtype=number)
        cells = memoryview(orjson.dumps(piece, option=orjson.OPT_SERIALIZE_NUMPY))
        text.write(b"," if top else b"[")
        text.write(cells[1:-1])
    text.write(b"],")
    text.write(end[1:])
    return text.getbuffer() if isinstance(text, BytesIO) else memoryview(text)[: text.tell()]
