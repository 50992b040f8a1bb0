"""Save where a run stands, and go on from there to the same weights, bit for bit on a CPU."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import CheckpointError, Diverged
from training.files import write_atomically
from training.processes import Processes

Optimisers = Sequence[torch.optim.Optimizer]


@dataclass
class State:
    """Where a run stands between two batches; with weights and optimisers, all that a resume needs."""

    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    generator: Tensor | None = None  # of the batches' order and augmentation, before the next one
    meter: Tensor | None = None  # float32 4: loss, hits, pictures in this epoch; loss since the last report
    seconds: float = 0.0  # of training so far
    peak: int = 0  # bytes in use at most so far
    rows: list[dict[str, Any]] = field(default_factory=list)  # of the history, an epoch each


@dataclass(frozen=True)
class Checkpoint:
    """One file. `identity` says in lines what the run is: another run's checkpoint is refused."""

    path: Path
    identity: str

    def save(self, state: State, network: nn.Module, optimisers: Optimisers) -> None:
        """Write atomically: a run killed while it writes, or out of disk, keeps the checkpoint before.

        Raises Diverged where a weight is no number, CheckpointError where the file cannot be written.
        """
        if not all(value.isfinite().all() for value in network.state_dict().values()):
            raise Diverged("the weights are no longer finite")
        content = {
            "identity": self.identity,
            "state": asdict(state),
            "network": network.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        }
        file = io.BytesIO()  # torch's writer ends the process where a disk is full
        torch.save(content, file)
        try:
            write_atomically(self.path, file.getvalue())
        except OSError as error:
            raise CheckpointError(
                f"cannot write {self.path}: {error.strerror}; the one of before is kept, if there was one: "
                "make room and go on with --resume"
            ) from error

    def restore(self, network: nn.Module, optimisers: Optimisers, processes: Processes) -> State:
        """Load weights and optimisers in place and give the state. Raises CheckpointError.

        The first process reads; the others, perhaps on other machines, are told.
        """
        content = processes.share(self.read() if processes.first else None)
        if isinstance(content, CheckpointError):
            raise content
        try:
            network.load_state_dict(content["network"])
            for optimiser, saved in zip(optimisers, content["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            return State(**content["state"])
        except Exception as error:  # what a foreign content raises has no common base
            raise damaged(self.path) from error

    def read(self) -> dict[str, Any] | CheckpointError:
        """Read the file, or say why not."""
        if not self.path.is_file():
            return missing(self.path)
        try:
            content: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            lines = zip(content["identity"].split("\n"), self.identity.split("\n"), strict=True)
            differing = [f"{theirs}, here {ours}" for theirs, ours in lines if theirs != ours]
        except Exception:  # what unpickling raises has no common base
            return damaged(self.path)
        if differing:
            return CheckpointError(
                f"{self.path} is of another run ({'; '.join(differing)}); "
                "start without --resume, or choose another --run-dir"
            )
        return content


def missing(path: Path) -> CheckpointError:
    return CheckpointError(f"nothing to resume: {path} is not there")


def damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or no checkpoint of this version; start without --resume, or put back "
        f"{path.with_suffix('.old.pt').name} if that is there and was this run's"
    )
