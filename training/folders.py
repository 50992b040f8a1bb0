"""A folder of pictures, a class a folder: which files there are, and their pixels."""

import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import UnidentifiedImageError
from torch import Tensor
from torchvision.datasets import ImageFolder

from training.errors import DataError
from training.pictures import read_picture
from training.sets import FileSet, Pictures, PictureSet

HELD_OUT = 0.2  # of a folder without `test`, a class at a time
TESTS = ("test", "val", "valid", "validation")  # what the part to test on is called: the first there is
AT_ONCE = 4096  # files decoded ahead: a bound on what waits in memory

Prepare = Callable[[Tensor], Tensor]


class ClassFolder(ImageFolder):  # type: ignore[misc]
    """torchvision's ImageFolder for given classes: our decoder, hidden files left out, empty folders allowed.

    An item is (uint8 C×S×S, class index); a file that is no picture gives the reason, a string, instead.
    """

    def __init__(self, root: Path, labels: Sequence[str], prepare: Prepare) -> None:
        self.labels, self.prepare = labels, prepare
        super().__init__(root, loader=self.read, allow_empty=True)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        return list(self.labels), {label: index for index, label in enumerate(self.labels)}

    @staticmethod
    def make_dataset(
        directory: str | Path, class_to_idx: dict[str, int] | None = None, *_: object, **__: object
    ) -> "Files":
        """List a class's files, in its folder and those below, hidden ones aside; links lead in, never up."""
        assert class_to_idx is not None
        return [
            (path, index)
            for label, index in class_to_idx.items()
            for path in sorted(walk(Path(directory) / label))
        ]

    def read(self, path: str) -> Tensor | str:
        if not Path(path).is_file():
            return f"{self.relative(path)}: not a file"
        try:
            picture = read_picture(Path(path))
        except UnidentifiedImageError:
            return f"{self.relative(path)}: not a picture"
        except Exception as error:  # a decoder may throw anything at a damaged file
            return f"{self.relative(path)}: {error or type(error).__name__}"
        return self.prepare(picture)

    def relative(self, path: str) -> str:
        """Name a file in a message: from the folder above train/ and test/ on, where there are such."""
        root = Path(self.root)
        return shown(Path(path).relative_to(root.parent if root.name in {"train", *TESTS} else root))


Files = list[tuple[str, int]]


def split_folder(folder: Path, prepare: Prepare, seed: int) -> tuple[ClassFolder, ClassFolder, str]:
    """List `train/<class>/…` and `test/<class>/…`, or `<class>/…` alone and hold a fifth of it out by `seed`.

    `val` and its like stand for `test` where there is none. Gives the two parts and how the second came
    about: `test` or `held-out`. Raises DataError.
    """
    train_folder = folder / "train"
    test_folder = next((folder / name for name in TESTS if class_names(folder / name)), None)
    has_train = bool(class_names(train_folder))
    if test_folder and not has_train:
        raise DataError(f"{folder.name}: has {test_folder.name}/<class>/… but no train/<class>/…")
    home = train_folder if has_train else folder
    labels = class_names(home)
    if len(labels) < 2:
        raise DataError(
            f"{folder.name}: found {len(labels)} class folders; a classifier needs at least two, "
            "as train/<class>/picture.jpg"
        )
    train = ClassFolder(home, labels, prepare)
    if test_folder:
        unknown = [name for name in class_names(test_folder) if name not in labels]
        if unknown:
            raise DataError(f"{test_folder.name} has classes that train lacks: {', '.join(unknown)}")
        return train, ClassFolder(test_folder, labels, prepare), "test"
    held = ClassFolder(home, labels, prepare)
    train.samples, held.samples = hold_out(train.samples, len(labels), seed)
    return train, held, "held-out"


def class_names(folder: Path) -> tuple[str, ...]:
    """List the folders in a folder, hidden ones aside; none where it is not there. Raises DataError."""
    if not folder.is_dir():
        return ()
    found = (path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = tuple(sorted(found))
    for name in names:
        if name != shown(name) or any(character < " " for character in name):
            raise DataError(
                f"class folder {shown(name)!r}: its name is not UTF-8 or has a line break; rename it"
            )
    return names


def walk(folder: Path) -> Iterator[str]:
    """Name the files under a folder, each folder once, and none above by way of a link."""
    seen, start = set(), folder.resolve()
    for home, folders, names in os.walk(folder, followlinks=True):
        here = Path(home).resolve()
        if here in seen or (here != start and start.is_relative_to(here)):
            folders.clear()
            continue
        seen.add(here)
        yield from (str(Path(home, name)) for name in names if not name.startswith("."))


def shown(name: str | Path) -> str:
    """Make a file's name fit to print: names may hold bytes that no encoding knows."""
    return str(name).encode(errors="replace").decode()


def hold_out(files: Files, classes: int, seed: int) -> tuple[Files, Files]:
    """Split files into a training and a held-out part, class by class; each class keeps one to train on."""
    chance = random.Random(seed)  # noqa: S311  (a reproducible split, not a secret)
    train: Files = []
    test: Files = []
    for index in range(classes):
        own = [item for item in files if item[1] == index]
        chance.shuffle(own)
        count = min(max(1, round(len(own) * HELD_OUT)), max(0, len(own) - 1))
        test += own[:count]
        train += own[count:]
    return sorted(train), sorted(test)


def read_folder(files: ClassFolder, see: Callable[[Tensor], None], memory: int) -> tuple[Pictures, list[str]]:
    """Decode and prepare every file once, on all cores (Pillow and torch release the lock).

    `see` gets every picture, in order. Gives the readable ones, in memory if they take no more than
    `memory` bytes, and the files that cannot be read, each with why.
    """
    kept: list[int] = []
    skipped: list[str] = []
    images = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    in_memory = True
    for index, image in enumerate(read_ahead(files)):
        if isinstance(image, str):
            skipped.append(image)
            continue
        if not kept:
            in_memory = len(files) * image.nbytes <= memory
            images = torch.empty(len(files) if in_memory else 0, *image.shape, dtype=torch.uint8)
        if in_memory:
            images[len(kept)] = image
        see(image)
        kept.append(index)
    labels = torch.tensor([files.samples[index][1] for index in kept], dtype=torch.int64)
    if in_memory:
        return PictureSet(images[: len(kept)], labels), skipped
    return FileSet(files, torch.tensor(kept), labels, math.prod(images.shape[1:])), skipped


def read_ahead(files: ClassFolder) -> Iterator[Tensor | str]:
    """Read every file in order, a bounded number of them ahead."""
    pool = ThreadPoolExecutor()
    try:
        for start in range(0, len(files), AT_ONCE):
            paths = [path for path, _ in files.samples[start : start + AT_ONCE]]
            yield from pool.map(files.read, paths)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for thousands
