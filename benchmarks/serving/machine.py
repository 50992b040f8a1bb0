"""What a figure needs beside it: the machine, the versions, the date."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.serving import load

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "fastapi", "starlette", "uvicorn")


def describe() -> dict[str, Any]:
    """Say what the figures were taken on."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "generator": f"{load.version()}, 1 thread, on the same cores",
        "versions": {name: own_version(name) for name in PACKAGES},
        "date": datetime.now(UTC).date().isoformat(),
    }


def signature(found: dict[str, Any]) -> str:
    """Put the machine and the date into a few words."""
    return f"{found['processor']}, {found['cores']} cores, {found['date']}"


def processor() -> str:
    """Give the processor's name as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def own_version(package: str) -> str:
    """Give the version of a package of the product's environment, without the build's suffix."""
    return version(package).partition("+")[0]
