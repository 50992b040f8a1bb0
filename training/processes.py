"""Several processes, on one machine or many, that fit one network together (started by torchrun)."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.errors import TrainingError

MEETING_S = 300


@dataclass(frozen=True)
class Processes:
    """This process's place among `count`. Alone, everything here is what a single process needs."""

    rank: int = 0
    count: int = 1
    again: bool = False  # started anew, after a failure or with other machines: the run is to go on

    @property
    def first(self) -> bool:
        """Say whether this is the one that writes and talks."""
        return self.rank == 0

    def part(self, batch: Tensor) -> Tensor:
        """Give this process's part of a batch: every `count`-th item."""
        return batch[self.rank :: self.count]

    def sum(self, values: Tensor) -> Tensor:
        """Add up what all processes hold, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Ask whether the flag is up in any process; all get the same answer at the same batch."""
        return bool(self.sum(torch.tensor(float(flag))) > 0)

    def share(self, value: Any) -> Any:
        """Give every process the first one's value."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that torchrun started; alone where it did not."""
    if "RANK" not in os.environ:
        yield Processes()
        return
    if (index := int(os.environ["LOCAL_RANK"])) < torch.cuda.device_count():
        torch.cuda.set_device(index)
    store, rank, count = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    name, again = meet(store, rank, count)
    store = dist.PrefixStore(name, store)  # type: ignore[attr-defined]
    # Each kind of tensor has its own way; on a GPU, flags still travel between CPUs.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    try:
        alone = Processes(rank, count)
        yield Processes(rank, count, alone.any(again or restarts() > 0))
    finally:
        dist.destroy_process_group()


def meet(store: Any, rank: int, count: int) -> tuple[str, bool]:
    """Agree on a name that no earlier start has used; say, in the first process, whether there was one.

    torchrun keeps one store over all restarts, and its count of them is each machine's own: without a
    common name, started processes may read the addresses of those that died, and wait for them. So
    the first process offers a name, the others sign it, and it counts once it lists a signature.
    """
    mine = uuid.uuid4().hex
    usual = store.timeout
    store.set_timeout(timedelta(seconds=MEETING_S))
    try:
        return offer(store, mine, count) if rank == 0 else sign(store, mine, rank)
    except dist.DistStoreError as error:
        raise TrainingError(
            f"the other processes did not come within {MEETING_S} s: see what they say"
        ) from error
    finally:
        store.set_timeout(usual)


def offer(store: Any, mine: str, count: int) -> tuple[str, bool]:
    again = bool(store.check(["name"]))
    store.set("name", mine)
    signed = [store.get(f"{mine}/{other}").decode() for other in range(1, count)]  # waits for each
    store.set(f"{mine}/all", ",".join(signed))
    return mine, again


def sign(store: Any, mine: str, rank: int) -> tuple[str, bool]:
    name = store.get("name").decode()  # waits for the first name ever; what follows, for the newest
    until = time.monotonic() + MEETING_S
    while time.monotonic() < until:
        store.set(f"{name}/{rank}", mine)
        time.sleep(0.1)
        if store.check([f"{name}/all"]) and mine in store.get(f"{name}/all").decode():
            return name, False
        name = store.get("name").decode()
    raise dist.DistStoreError("none of the names that were offered counts")


def restarts() -> int:
    """Count how often torchrun has started processes anew on this machine after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


class SumOverProcesses(torch.autograd.Function):
    """A sum that gradients flow back through: what each process did with it counts for all."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class SharedNorm(nn.BatchNorm2d):
    """Batch normalisation over the whole batch, whichever process holds what of it.

    torch's SyncBatchNorm runs on GPUs only; this one runs everywhere, and equals a single process.
    """

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        exact = values.float()  # sums over a batch are too much for bfloat16
        count = exact.new_tensor([exact[:, 0].numel()])
        sums = SumOverProcesses.apply(torch.cat([exact.sum((0, 2, 3)), exact.square().sum((0, 2, 3)), count]))
        count = sums[-1]
        mean, square = (sums[:-1] / count).chunk(2)
        variance = (square - mean.square()).clamp_min(0)
        with torch.no_grad():
            assert self.momentum is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        result: Tensor = exact * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]
        return result.to(values.dtype)


def share_norms(network: nn.Module) -> None:
    """Make every batch normalisation of a network one over all processes, in place."""
    for layer in network.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SharedNorm
