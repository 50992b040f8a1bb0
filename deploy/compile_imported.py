"""Compile the Python files that serving imports, and no others; run once, inside the image.

Unused modules of torch and its company would add 140 MB of bytecode. The bytecode is not checked against its
source's time: the root is read-only, and so two builds of one commit have the same files.
"""

import compileall
import importlib
import os
import pkgutil
import py_compile
import sys
from pathlib import Path

import service

# What a running server imports besides: its event loop, protocol and threads, and the formats of pictures.
LATER = [
    "anyio._backends._asyncio",
    "encodings.idna",
    "numpy.random",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
]
OF_AN_EXTRA = ("opentelemetry", "ray")


def main() -> int:
    """Import, then compile where Python looks for it; returns 1 where a file does not compile."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    modules = [module.name for module in pkgutil.walk_packages(service.__path__, "service.")]
    for name in [*modules, *LATER]:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in OF_AN_EXTRA:
                raise
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    # Not this file, nor those that torch.ops and the like only claim to be from.
    sources = sorted(file for file in files - {__file__} if file.endswith(".py") and Path(file).is_file())
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    done = [compileall.compile_file(file, quiet=1, force=True, invalidation_mode=mode) for file in sources]
    sys.stdout.write(f"{len(done)} modules compiled\n")
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
