"""Labelled pictures, in memory or read from their files again and again, behind one interface."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.errors import DataError


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

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "FileSet":
        return replace(self, labels=self.labels.to(device))

    def part(self, chosen: Tensor) -> "FileSet":
        where = chosen.to(self.labels.device)
        return FileSet(self.files, self.indices[chosen.cpu()], self.labels[where])

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[Tensor]:
        device = self.labels.device
        # Only a forked worker can share `prepare` of a TorchScript file; where forking is not safe (macOS,
        # beside MPS) or not known, this process decodes.
        forks = sys.platform == "linux"
        loader = DataLoader(
            self.files,
            batch_sampler=[self.indices[indices.cpu()].tolist() for indices in chosen],
            num_workers=torch.get_num_threads() if forks else 0,
            multiprocessing_context="fork" if forks else None,
            collate_fn=stack,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # or it would draw from the global one, and a resume differ
        )
        for images in loader:
            if isinstance(images, str):
                raise DataError(f"{images}: this picture could be read when the run began, and now cannot")
            yield images.to(device, non_blocking=True)


def stack(items: list[tuple[Tensor, int]]) -> Tensor | str:
    """Make a batch of what the files gave, or name the file that gave nothing."""
    images = [image for image, _ in items]
    return next((image for image in images if isinstance(image, str)), None) or torch.stack(images)
