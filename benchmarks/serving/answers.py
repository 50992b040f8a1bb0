"""Ask a server once and check its answer against the artefact run in this process."""

import http.client
import json
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.serving.payloads import Body, Picture
from service.model import load_model

TOLERANCE = 0.02  # of a probability: libraries decode and shrink a JPEG differently in the last bits


@cache
def expected(model: Path, picture: Picture) -> tuple[str, float]:
    """Classify a picture in this process: the likeliest label and its probability."""
    image = pil_to_tensor(Image.open(BytesIO(picture.data)).convert("RGB"))
    artefact = load_model(model)
    probabilities = artefact.classify([artefact.prepare(image.numpy())])[0]
    best = int(probabilities.argmax())
    return artefact.card.labels[best], float(probabilities[best])


def ask(port: int, path: str, body: Body, timeout_s: float = 30) -> bytes:
    """Post one body. Raises OSError or http.client.HTTPException where there is no 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", path, body.data, {"Content-Type": body.content_type})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise http.client.HTTPException(f"{answer.status}: {text[:120].decode(errors='replace')}")
    return text


def likeliest(text: bytes) -> tuple[str, float]:
    """Find the first label and its probability in an answer, whatever it is wrapped in."""
    found = search(json.loads(text))
    if found is None:
        raise ValueError(f"no predictions in {text[:120].decode(errors='replace')}")
    return found["label"], found["probability"]


def search(value: Any) -> dict[str, Any] | None:
    """Look for the first `{label, probability}`, in JSON within JSON too."""
    if isinstance(value, dict):
        return value if value.keys() >= {"label", "probability"} else search(list(value.values()))
    if isinstance(value, list):
        return next((found for item in value if (found := search(item))), None)
    if isinstance(value, str) and value.startswith(("{", "[")):
        return search(json.loads(value))
    return None


def check(text: bytes, wanted: tuple[str, float]) -> None:
    """Compare an answer with what the artefact says. Raises ValueError."""
    label, probability = likeliest(text)
    if label != wanted[0] or abs(probability - wanted[1]) > TOLERANCE:
        raise ValueError(f"answered {label} {probability:.4f}; the artefact says {wanted[0]} {wanted[1]:.4f}")
