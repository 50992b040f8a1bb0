"""Say what fills the image it runs in, in MB: docker run --rm -i --entrypoint python stride - <this file."""

import os
from pathlib import Path

PACKAGES = next(Path("/venv").glob("lib/python3*/site-packages"))
PARTS = {
    "torch's libraries": [PACKAGES / "torch/lib"],
    "torch's Python": [PACKAGES / "torch", PACKAGES / "torchgen"],
    "CUDA": [PACKAGES / "nvidia", PACKAGES / "triton"],
    "sympy and networkx, which torch asks for": [
        PACKAGES / "sympy",
        PACKAGES / "networkx",
        PACKAGES / "mpmath",
    ],
    "NumPy with OpenBLAS": [PACKAGES / "numpy", PACKAGES / "numpy.libs"],
    "Pillow with its formats": [PACKAGES / "PIL", PACKAGES / "pillow.libs"],
    "the service": [PACKAGES / "service"],
    "the other packages": [PACKAGES],
    "the models": [Path("/app/models")],
    "Python": [Path("/usr/local")],
    "Debian": [Path("/usr"), Path("/var"), Path("/etc")],
}
BYTECODE = "bytecode of what is imported"


def main() -> None:
    """Give every file to the first part that it lies in."""
    seen: set[tuple[int, int]] = set()
    sizes = dict.fromkeys([*PARTS, BYTECODE], 0)
    for part, folders in PARTS.items():
        for folder in folders:
            for path, _, names in os.walk(folder):
                for name in names:
                    status = os.lstat(os.path.join(path, name))
                    if (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        sizes[BYTECODE if name.endswith(".pyc") else part] += status.st_size
    for part, size in sorted(sizes.items(), key=lambda one: -one[1]):
        if size:
            print(f"{size / 1e6:7.1f} MB  {part}")
    print(f"{sum(sizes.values()) / 1e6:7.1f} MB  in all")


main()
