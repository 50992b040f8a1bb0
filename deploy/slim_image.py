"""Take out of an environment what only compiling, testing and debugging its libraries needs.

torch brings headers, tests, a compiler of messages and tables of symbols for debuggers; others bring their
tests. What a library declares that it needs stays, even where serving does not use it.
Usage: slim_image.py FOLDER, the environment's.
"""

import shutil
import subprocess
import sys
from pathlib import Path

# torch looks for torch_shm_manager when it is imported.
OUT = [
    "torch/include",
    "torch/share",
    "torch/test",
    "torch/bin/[!t]*",
    "torch/bin/test_*",
    "torch/lib/*test*",
]
TESTS = "**/tests"
# Not those of numpy.libs and the like: auditwheel moved their sections, and strip would break them.
STRIPPED = ["torch/lib/*.so", "torch/*.so", "uvloop/*.so", "httptools/**/*.so", "PIL/*.so"]


def main() -> int:
    """Remove and strip, and say what it gave."""
    packages = next(Path(sys.argv[1]).glob("lib/python3*/site-packages"))
    before = size_mb(packages)
    for pattern in [*OUT, TESTS]:
        for path in list(packages.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    without = size_mb(packages)
    libraries = [str(file) for pattern in STRIPPED for file in packages.glob(pattern)]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)  # noqa: S603, S607
    sys.stdout.write(f"packages: {before} MB, {without} without tests, {size_mb(packages)} without symbols\n")
    return 0


def size_mb(folder: Path) -> int:
    """Add up the files of a folder."""
    return round(sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir()) / 1e6)


if __name__ == "__main__":
    sys.exit(main())
