"""Labelled pictures, in memory or read from their files again and again, behind one interface."""

import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.errors import DataError

READ_AHEAD = 2  # batches a worker


class Pictures(Protocol):
    """Pictures of one size, each of a class."""

    @property
    def labels(self) -> Tensor:
        """Give the class indices: int64 N, on the device."""
        ...

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> "Pictures": ...

    def part(self, chosen: Tensor) -> "Pictures":
        """Give some of them as a set of its own: int64 M, indices."""
        ...

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[Tensor]:
        """Read batch after batch: int64 B, indices, each -> uint8 B×C×S×S, RGB, 0..255, on the device."""
        ...


@dataclass(frozen=True)
class PictureSet:
    """Pictures in memory: uint8 N×C×S×S, RGB, 0..255, and int64 N class indices, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "PictureSet":
        return PictureSet(self.images.to(device), self.labels.to(device))

    def part(self, chosen: Tensor) -> "PictureSet":
        where = chosen.to(self.labels.device)
        return PictureSet(self.images[where], self.labels[where])

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[Tensor]:
        for indices in chosen:
            yield self.images[indices.to(self.labels.device)]


@dataclass(frozen=True)
class FileSet:
    """Pictures too many for memory: `files` decodes and prepares one at a time, in worker processes."""

    files: Dataset[tuple[Tensor, int]]
    indices: Tensor  # int64 N: which of `files`
    labels: Tensor
    bytes_each: int  # once prepared

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "FileSet":
        return replace(self, labels=self.labels.to(device))

    def part(self, chosen: Tensor) -> "FileSet":
        where = chosen.to(self.labels.device)
        return replace(self, indices=self.indices[chosen.cpu()], labels=self.labels[where])

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[Tensor]:
        device = self.labels.device
        wanted = [self.indices[indices.cpu()].tolist() for indices in chosen]
        most = max(map(len, wanted), default=0) * self.bytes_each
        # Only a forked worker can share `prepare` of a TorchScript file; where forking is not safe (macOS,
        # beside MPS) or not known, this process decodes.
        count = workers(most) if sys.platform == "linux" else 0
        loader = DataLoader(
            self.files,
            batch_sampler=wanted,
            num_workers=count,
            multiprocessing_context="fork" if count else None,
            collate_fn=stack,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # or it would draw from the global one, and a resume differ
            prefetch_factor=READ_AHEAD if count else None,
            worker_init_fn=leave_signals,
        )
        for images in loader:
            if isinstance(images, str):
                raise DataError(f"{images}: this picture could be read when the run began, and now cannot")
            yield images.to(device, non_blocking=True)


def workers(batch_bytes: int) -> int:
    """Give as many workers as there are threads, if what they read ahead fits what processes may share."""
    try:
        room = shutil.disk_usage("/dev/shm").free  # noqa: S108
    except OSError:
        return torch.get_num_threads()
    room //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(torch.get_num_threads(), room // 2 // (READ_AHEAD * max(1, batch_bytes)))


def leave_signals(_: int) -> None:
    """Let a worker outlive Ctrl-C and SIGTERM, which go to the whole group: its run ends it, once saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def stack(items: list[tuple[Tensor, int]]) -> Tensor | str:
    """Make a batch of what the files gave, or name the file that gave nothing."""
    images = [image for image, _ in items]
    return next((image for image in images if isinstance(image, str)), None) or torch.stack(images)
