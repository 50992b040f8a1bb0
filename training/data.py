"""Load a data set, by name or from a folder of pictures, prepared as the service would."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import named
from training.errors import DataError
from training.folders import Prepare, read_folder, shown, split_folder
from training.sets import Pictures, PictureSet


@dataclass(frozen=True)
class Data:
    """A data set split in two. `split` names how the test part came about: `test` or `held-out`."""

    name: str
    labels: tuple[str, ...]
    train: Pictures
    test: Pictures
    split: str
    fingerprint: str  # of classes, pictures and labels: equal data, equal fingerprint, wherever they lie
    skipped: tuple[str, ...] = ()  # files that cannot be read, each with why, relative to the folder
    mirrorable: bool = True  # whether what is seen in a mirror is still of its class


class Digest:
    """A fingerprint, taken as the pictures pass by."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.hash = hashlib.sha256(json.dumps(labels).encode())

    def add(self, values: Tensor) -> None:
        self.hash.update(values.numpy().tobytes())

    def text(self) -> str:
        return f"sha256:{self.hash.hexdigest()}"


def load(
    source: str,
    data_dir: Path,
    prepare: Prepare,
    seed: int,
    *,
    mirror: str | None = None,
    memory: int,
) -> Data:
    """Load `source`: a data set's name (files kept in `data_dir`) or a folder of pictures.

    `prepare` maps uint8 C×H×W to uint8 C×S×S. `seed` chooses the held-out part of a folder without
    `test`; `mirror` is an address to fetch named sets from; a part of a folder that would take more than
    `memory` bytes stays in its files. Raises DataError.
    """
    check_source(source)
    if source in named.NAMES:
        return load_named(source, data_dir, prepare, mirror)
    return load_folder(Path(source), prepare, seed, memory)


def check_source(source: str) -> None:
    """Refuse what is neither a name nor a folder. Raises DataError."""
    if source not in named.NAMES and not (source and Path(source).is_dir()):
        raise DataError(
            f"--data {source}: neither a data set's name ({', '.join(named.NAMES)}) nor a folder of pictures"
        )


def load_named(name: str, data_dir: Path, prepare: Prepare, mirror: str | None) -> Data:
    """Load a data set of torchvision's, from `data_dir` or downloaded there."""
    labels, parts = named.load_named(name, data_dir, mirror)
    train, test = (prepared(*part, prepare) for part in parts)
    digest = Digest(labels)
    for part in (train, test):
        digest.add(part.images)
        digest.add(part.labels)
    return Data(name, labels, train, test, "test", digest.text(), mirrorable=named.mirrorable(name))


def prepared(pixels: NDArray[np.uint8], targets: NDArray[np.int64], prepare: Prepare) -> PictureSet:
    """Turn a uint8 N×H×W×C array into a prepared set."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    whole = torch.empty(len(images), *prepare(images[0].contiguous()).shape, dtype=torch.uint8)
    for index, image in enumerate(images):
        whole[index] = prepare(image.contiguous())
    return PictureSet(whole, torch.from_numpy(targets))


def load_folder(folder: Path, prepare: Prepare, seed: int, memory: int) -> Data:
    """Load `train/<class>/…` and `test/<class>/…`, or `<class>/…` alone, pictures of any size and format.

    Files that are no pictures are skipped and listed. Raises DataError.
    """
    folder = folder.resolve()
    train_files, test_files, split = split_folder(folder, prepare, seed)
    labels = tuple(train_files.labels)
    digest = Digest(labels)
    parts: list[Pictures] = []
    skipped: list[str] = []
    for files, name in ((train_files, "training"), (test_files, "test")):
        pictures, bad = read_folder(files, digest.add, memory)
        if not len(pictures):
            least = "; give test/<class>/… or two pictures a class" if split == "held-out" else ""
            raise DataError(f"{folder.name}: no {name} pictures could be read{least}")
        digest.add(pictures.labels)
        parts.append(pictures)
        skipped += bad
    train, test = parts
    missing = [label for index, label in enumerate(labels) if not (train.labels == index).any()]
    if missing:
        raise DataError(f"no training pictures in {', '.join(missing)}: fill or remove the folders")
    return Data(shown(folder.name), labels, train, test, split, digest.text(), tuple(skipped))
