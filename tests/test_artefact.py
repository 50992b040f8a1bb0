"""The whole job, small: pictures in a folder are trained on, exported, served and asked about."""

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import picture_file
from training import residual
from training.__main__ import main

Serve = Callable[..., httpx.Client]
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 40), "blue": (40, 40, 200)}


def picture(colour: str, seed: int) -> Image.Image:
    """A noisy picture of one colour, of a size of its own."""
    chance = np.random.default_rng(seed)
    height, width = chance.integers(20, 60, 2)
    pixels = np.array(COLOURS[colour]) + chance.normal(0, 30, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for colour in COLOURS:
        home = tmp_path / "colours" / "train" / colour
        home.mkdir(parents=True)
        for seed in range(40):
            picture(colour, seed).save(home / f"{seed}.png")
    return tmp_path / "colours"


@pytest.mark.parametrize(("network", "epochs"), [("lenet", "30"), ("resnet", "20")])
def test_what_was_trained_is_served_and_recognises_new_pictures(
    folder: Path, tmp_path: Path, serve: Serve, network: str, epochs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    monkeypatch.setattr(residual, "WIDTHS", (16, 32, 32))  # quick
    options = ["--name", "colours", "--models-dir", str(models), "--run-dir", str(tmp_path / "run")]
    status = main(["fit", "--data", str(folder), "--network", network, "--epochs", epochs, *options])
    assert status == 0
    client = serve(models_dir=models)
    card = client.get("/models/colours").json()
    assert card["labels"] == sorted(COLOURS)
    assert card["training"]["data"]["split"] == "held-out"
    for colour in COLOURS:
        data = picture_file(picture(colour, seed=1000), "PNG")
        answer = client.post("/predict", files={"file": data}, params={"top_k": 1})
        assert answer.json()["predictions"][0]["label"] == colour
