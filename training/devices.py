"""The device a run is on, and how it computes there."""

import ctypes
import os
import platform
import re
import resource
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from training.errors import DataError
from training.processes import Processes

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Machine:
    """Where and how a run computes."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    processes: Processes = field(default_factory=Processes)
    bfloat16: bool = False
    compiled: bool = False

    def autocast(self) -> AbstractContextManager[object]:
        """Let convolutions and products compute in bfloat16, where that is wanted; weights stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bfloat16 else nullcontext()

    def memory(self) -> int:
        """Give the bytes there are for this process, of the machine, the container or the GPU."""
        here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        with suppress(OSError, ValueError):  # the word "max" where there is no limit
            here = min(here, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
        here //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if self.device.type == "cuda":
            return min(here, torch.cuda.get_device_properties(self.device).total_memory)
        return here

    def peak_memory(self) -> int:
        """Give the most bytes in use so far: the device's own on CUDA, else this process's."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def name(self) -> str:
        """Name the device, with the threads where that is a CPU, and the number of processes."""
        times = f"{self.processes.count} × " if self.processes.count > 1 else ""
        if self.device.type == "cuda":
            return f"{times}cuda ({torch.cuda.get_device_name(self.device)})"
        if self.device.type == "cpu":
            return f"{times}cpu ({processor()}, {torch.get_num_threads()} threads)"
        return times + self.device.type


def processor() -> str:
    """Name this machine's processor as well as it can be told."""
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def choose_device(name: str, processes: Processes) -> torch.device:
    """Find the device: `auto` takes CUDA, then MPS, then the CPU. Raises DataError where there is none."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and processes.count == 1,  # they could not talk
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, available in there.items() if available)
    if not there[name]:
        raise DataError(f"--device {name}: torch {torch.__version__} finds none on this machine")
    if name == "cuda" and 0 < torch.cuda.device_count() <= int(os.environ.get("LOCAL_RANK", "0")):
        raise DataError("more processes than GPUs: start torchrun with --nproc-per-node=gpu, or --device cpu")
    return torch.device(name)


def set_up(device: torch.device, precision: Precision, processes: Processes, *, compiled: bool) -> Machine:
    """Choose the arithmetic, deliberately.

    On CUDA: TF32 for what stays float32 (19 bits are plenty beside the noise of a batch), and cuDNN
    times its algorithms for each shape, of which a run has few. bfloat16 by default wherever the
    hardware multiplies it: elsewhere it is emulated, and slower than float32. Raises DataError where
    torch.compile has nothing to compile with.
    """
    if compiled and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise DataError(
            "--compile needs a C++ compiler, and there is none here: install g++, or leave it out"
        )
    if device.type == "cuda":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = True
    if device.type == "cpu":
        keep_freed_memory()
    bfloat16 = precision == "bfloat16" or (precision == "auto" and multiplies_bfloat16(device))
    return Machine(device, processes, bfloat16, compiled)


def compute_exactly() -> None:
    """Leave TF32: what a model's figures are made of is float32, as in the service."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


def keep_freed_memory() -> None:
    """Let the C library keep what is freed: else each large tensor comes from the system, page by page.

    A twentieth of the training time on two cores. Elsewhere than with glibc this does nothing.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(-4, 0)  # M_MMAP_MAX: no mappings of their own for large pieces
        library.mallopt(-1, -1)  # M_TRIM_THRESHOLD: never


def multiplies_bfloat16(device: torch.device) -> bool:
    """Say whether a device has instructions for products of bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
