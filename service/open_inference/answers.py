"""Write what an inference answers: probabilities or the likeliest classes, as JSON or as binary tensors."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.open_inference.requests import Wanted
from service.open_inference.schemas import OUTPUT, OUTPUT_TYPE

Probabilities = NDArray[np.float32]  # N×classes, in the labels' order


class Written(NamedTuple):
    """An answer's body; `header_length` is where its JSON ends, None where all of it is JSON."""

    body: bytes
    header_length: int | None


def write_answer(
    head: dict[str, Any], probabilities: Probabilities, labels: Sequence[str], wanted: Wanted
) -> Written:
    """Write an inference response: `head` is model_name, model_version and the caller's id if any."""
    output: dict[str, Any] = {"name": OUTPUT, "datatype": OUTPUT_TYPE, "shape": list(probabilities.shape)}
    content: list[str] | Probabilities = probabilities.reshape(-1)
    if wanted.classification:
        count = min(wanted.classification, len(labels))
        content = classify(probabilities, labels, count)
        output |= {"datatype": "BYTES", "shape": [len(probabilities), count]}
    if not wanted.binary:
        output["data"] = content
        return Written(orjson.dumps(head | {"outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY), None)
    binary = as_bytes(content)
    output["parameters"] = {"binary_data_size": len(binary)}
    text = orjson.dumps(head | {"outputs": [output]})
    return Written(text + binary, len(text))


def classify(probabilities: Probabilities, labels: Sequence[str], count: int) -> list[str]:
    """Name each picture's `count` likeliest classes: "value:index:label", the value as Triton prints it."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return [
        f"{row[index]:f}:{index}:{labels[index]}"
        for row, indices in zip(probabilities, order.tolist(), strict=True)
        for index in indices
    ]


def as_bytes(content: list[str] | Probabilities) -> bytes:
    """Give a tensor as little-endian bytes; a text is its length in four bytes, then itself."""
    if isinstance(content, list):
        texts = [text.encode() for text in content]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return content.astype("<f4").tobytes()
