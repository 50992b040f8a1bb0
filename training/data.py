"""Load a data set, by name or from a folder of pictures, as uint8 tensors prepared as the service would."""

import hashlib
import http.client
import json
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import UnidentifiedImageError
from torch import Tensor

from training.pictures import read_picture

HELD_OUT = 0.2  # of a folder without `test`, a class at a time
DOWNLOAD_TIMEOUT_S = 30  # without a byte

Prepare = Callable[[Tensor], Tensor]


class DataError(Exception):
    """The data cannot be used; the sentence says what to do."""


@dataclass(frozen=True)
class PictureSet:
    """uint8 N×C×S×S, RGB, 0..255, and int64 N class indices, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "PictureSet":
        return PictureSet(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Data:
    """A data set split in two. `split` names how the test part came about: `test` or `held-out`."""

    name: str
    labels: tuple[str, ...]
    train: PictureSet
    test: PictureSet
    split: str
    skipped: tuple[str, ...] = ()  # files that cannot be read, each with why, relative to the folder

    def fingerprint(self) -> str:
        """Hash classes, pictures and labels: equal data, equal fingerprint, wherever it came from."""
        digest = hashlib.sha256(json.dumps(self.labels).encode())
        for part in (self.train, self.test):
            digest.update(part.images.cpu().numpy().tobytes())
            digest.update(part.labels.cpu().numpy().tobytes())
        return f"sha256:{digest.hexdigest()}"


def load(source: str, data_dir: Path, prepare: Prepare, seed: int) -> Data:
    """Load `source`: a data set's name (files kept in `data_dir`) or a folder of pictures.

    `prepare` maps uint8 C×H×W to uint8 C×S×S. `seed` chooses the held-out part of a folder without
    `test`. Raises DataError.
    """
    if source in NAMED:
        return NAMED[source](data_dir, prepare)
    folder = Path(source)
    if not source or not folder.is_dir():
        raise DataError(
            f"--data {source}: neither a data set's name ({', '.join(NAMED)}) nor a folder of pictures"
        )
    return load_folder(folder, prepare, seed)


def load_cifar10(data_dir: Path, prepare: Prepare) -> Data:
    """Load CIFAR-10 (Krizhevsky 2009), from `data_dir` or downloaded there, checksums verified."""
    from torchvision.datasets import CIFAR10  # noqa: PLC0415  (2 s that a folder of pictures need not wait)

    try:
        with socket_timeout(DOWNLOAD_TIMEOUT_S):
            train, test = (CIFAR10(str(data_dir), train=part, download=True) for part in (True, False))
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        # URLError and time-outs are OSErrors, checksums RuntimeErrors
        raise DataError(
            f"cannot download CIFAR-10 ({error}); fetch cifar-10-python.tar.gz another way, put it in a "
            "folder and name the folder with --data-dir, or give a folder of pictures as --data"
        ) from error
    seen, unseen = (prepared(part.data, part.targets, prepare) for part in (train, test))
    return Data("cifar10", tuple(train.classes), seen, unseen, "test")


NAMED: dict[str, Callable[[Path, Prepare], Data]] = {"cifar10": load_cifar10}


def prepared(pixels: NDArray[np.uint8], targets: Sequence[int], prepare: Prepare) -> PictureSet:
    """Turn torchvision's uint8 N×H×W×C array into a prepared set."""
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return PictureSet(torch.stack([prepare(image) for image in images]), torch.tensor(targets))


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Give up on a host that sends nothing; torchvision's downloader sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def load_folder(folder: Path, prepare: Prepare, seed: int) -> Data:
    """Load `train/<class>/…` and `test/<class>/…`, or `<class>/…` alone, pictures of any size and format.

    Without `test`, a fifth of each class is held out, chosen by `seed`. Files that are no pictures
    are skipped and listed. Raises DataError.
    """
    folder = folder.resolve()
    train_folder, test_folder = folder / "train", folder / "test"
    has_train, has_test = bool(class_names(train_folder)), bool(class_names(test_folder))
    if has_test and not has_train:
        raise DataError(f"{folder.name}: has test/<class>/… but no train/<class>/…")
    labels = class_names(train_folder if has_train else folder)
    if len(labels) < 2:
        raise DataError(
            f"{folder.name}: found {len(labels)} class folders; a classifier needs at least two, "
            "as train/<class>/picture.jpg"
        )
    train_files = files_by_class(train_folder if has_train else folder, labels)
    if has_test:
        unknown = [name for name in class_names(test_folder) if name not in labels]
        if unknown:
            raise DataError(f"test has classes that train lacks: {', '.join(unknown)}")
        test_files, split = files_by_class(test_folder, labels), "test"
    else:
        train_files, test_files = hold_out(train_files, len(labels), seed)
        split = "held-out"
    train, skipped = read_pictures(train_files, prepare)
    test, skipped_too = read_pictures(test_files, prepare)
    for part, name in ((train, "training"), (test, "test")):
        if not len(part):
            raise DataError(f"{folder.name}: no {name} pictures could be read")
    missing = [label for i, label in enumerate(labels) if not (train.labels == i).any()]
    if missing:
        raise DataError(f"no training pictures in {', '.join(missing)}: fill or remove the folders")
    names = tuple(f"{shown(path.relative_to(folder))}: {why}" for path, why in skipped + skipped_too)
    return Data(shown(folder.name), labels, train, test, split, names)


def class_names(folder: Path) -> tuple[str, ...]:
    """List the folders in a folder, hidden ones aside; none where it is not there. Raises DataError."""
    if not folder.is_dir():
        return ()
    found = (path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = tuple(sorted(found))
    for name in names:
        if name != shown(name):
            raise DataError(f"class folder {shown(name)}: its name is not UTF-8; rename it")
    return names


def shown(name: str | Path) -> str:
    """Make a file's name fit to print: names may hold bytes that no encoding knows."""
    return str(name).encode(errors="replace").decode()


Files = list[tuple[Path, int]]


def files_by_class(folder: Path, labels: Sequence[str]) -> Files:
    """List every file below each class's folder with the class's index, in a fixed order."""
    return [
        (path, index)
        for index, label in enumerate(labels)
        for path in sorted((folder / label).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]


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


def read_pictures(files: Files, prepare: Prepare) -> tuple[PictureSet, list[tuple[Path, str]]]:
    """Decode and prepare files on all cores (Pillow and torch release the lock).

    Gives the set, and the files that cannot be read, each with why.
    """

    def read(path: Path) -> Tensor | str:
        try:
            picture = read_picture(path)
        except UnidentifiedImageError:
            return "not a picture"
        except Exception as error:  # a decoder may throw anything at a damaged file
            return str(error) or type(error).__name__
        return prepare(picture)

    with ThreadPoolExecutor() as pool:
        read_files = list(zip(pool.map(read, [path for path, _ in files]), files, strict=True))
    images = [image for image, _ in read_files if isinstance(image, Tensor)]
    labels = [label for image, (_, label) in read_files if isinstance(image, Tensor)]
    skipped = [(path, why) for why, (path, _) in read_files if isinstance(why, str)]
    stacked = torch.stack(images) if images else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    return PictureSet(stacked, torch.tensor(labels, dtype=torch.int64)), skipped
