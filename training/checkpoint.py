"""Save where a run stands, and go on from there to the same weights, bit for bit on a CPU."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn


class CheckpointError(Exception):
    """A checkpoint is not there, or is of another run."""


@dataclass
class State:
    """Where a run stands between two batches; with weights and optimiser, all that a resume needs."""

    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    generator: Tensor | None = None  # of the batches' order and augmentation, before the next one
    meter: Tensor | None = None  # float32 4: loss, hits, pictures in this epoch; loss since the last report
    seconds: float = 0.0  # of training so far


@dataclass(frozen=True)
class Checkpoint:
    """One file. `identity` says in lines what the run is: another run's checkpoint is refused."""

    path: Path
    identity: str

    def set_aside(self) -> Path | None:
        """Keep an earlier run's checkpoint under another name, which is returned; None if there is none."""
        aside = self.path.with_suffix(".old.pt")
        try:
            return self.path.replace(aside)
        except FileNotFoundError:
            return None

    def save(self, state: State, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Write atomically: a run killed while it writes keeps the checkpoint before."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        content = {
            "identity": self.identity,
            "state": asdict(state),
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        torch.save(content, beside)
        os.replace(beside, self.path)  # noqa: PTH105  (says "atomic" to whoever knows it)

    def restore(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> State:
        """Load weights and optimiser in place and give the state. Raises CheckpointError."""
        if not self.path.is_file():
            raise CheckpointError(f"nothing to resume: {self.path} is not there")
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            lines = zip(content["identity"].split("\n"), self.identity.split("\n"), strict=True)
            differing = [f"{theirs}, here {ours}" for theirs, ours in lines if theirs != ours]
            if not differing:
                network.load_state_dict(content["network"])
                optimiser.load_state_dict(content["optimiser"])
                return State(**content["state"])
        except Exception as error:  # what unpickling and a foreign content raise has no common base
            raise CheckpointError(
                f"{self.path} is damaged or no checkpoint of this version; start without --resume"
            ) from error
        raise CheckpointError(
            f"{self.path} is of another run ({'; '.join(differing)}); "
            "start without --resume, or choose another --run-dir"
        )
