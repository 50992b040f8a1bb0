"""What the tests of `training` share: a small folder of pictures that a LeNet can tell apart."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from training.data import Data, load
from training.networks import build
from training.recipes import Recipe

CLASSES = ("bar", "checkers", "disc")
# How pictures come in the wild: file ending, Pillow's mode. JPEG cannot hold RGBA or P, GIF holds P alone.
FORMS = (
    ("jpg", "RGB"),
    ("png", "RGB"),
    ("webp", "RGB"),
    ("png", "RGBA"),
    ("gif", "P"),
    ("bmp", "RGB"),
    ("png", "P"),
    ("jpg", "L"),
    ("webp", "RGBA"),
    ("bmp", "L"),
)


def draw(kind: str, chance: np.random.Generator) -> Image.Image:
    """Draw a green bar, blue checkers or a red disc on grey noise, in any size of 32..80 pixels a side."""
    width, height = (int(side) for side in chance.integers(32, 80, 2))
    picture = Image.fromarray(chance.integers(90, 160, (height, width, 3), dtype=np.uint8))
    pen, side = ImageDraw.Draw(picture), min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    if kind == "bar":
        x = left + int(chance.integers(side // 4, side // 2))
        pen.rectangle((x, top, x + side // 5, top + side), (20, 230, 20))
    elif kind == "disc":
        pen.ellipse(
            (left + side // 5, top + side // 5, left + side * 4 // 5, top + side * 4 // 5), (230, 20, 20)
        )
    else:
        cell = side // 6
        for row in range(6):
            for column in range(row % 2, 6, 2):
                x, y = left + column * cell, top + row * cell
                pen.rectangle((x, y, x + cell, y + cell), (20, 20, 230))
    return picture


def draw_folder(folder: Path, count: int, seed: int) -> Path:
    """Fill `folder`/<class>/ with `count` pictures a class, in every form in turn."""
    chance = np.random.default_rng(seed)
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
        for index in range(count):
            ending, mode = FORMS[index % len(FORMS)]
            draw(kind, chance).convert(mode).save(folder / kind / f"{index:02}.{ending}")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with train/<class>/ (20 pictures each) and test/<class>/ (8 each); not to be changed."""
    folder = tmp_path_factory.mktemp("tiny") / "shapes"
    draw_folder(folder / "train", 20, seed=1)
    draw_folder(folder / "test", 8, seed=2)
    return folder


@pytest.fixture(scope="session")
def data(pictures: Path) -> Data:
    """Give the folder's pictures, prepared for LeNet."""
    return load(str(pictures), Path(), build("lenet", 2).prepare, seed=0, memory=10**9)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Give a short recipe with every part that a resume has to get right."""
    return Recipe(
        name="short",
        epochs=3,
        batch_size=16,
        learning_rate=0.05,
        momentum=0.9,
        schedule="triangular",
        nesterov=True,
        weight_decay=5e-4,
        label_smoothing=0.1,
        mirror=True,
        shift=2,
        report_every=3,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of plain pictures: `folder({"train/cat": 3, "train/dog": 2})`, each of its own colour."""

    def make(counts: dict[str, int], name: str = "pets") -> Path:
        root = tmp_path / name
        root.mkdir()
        shade = 0
        for place, count in counts.items():
            (root / place).mkdir(parents=True)
            for index in range(count):
                shade += 1
                Image.new("RGB", (32, 32), (shade, 0, 0)).save(root / place / f"{index}.png")
        return root

    return make


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C interrupt: a shell starts its background jobs, and so perhaps these tests, deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread: two wait for each other on a busy machine, and small batches gain nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
