"""Install torch, and torchvision where asked, from the best source at hand; used by Makefile and Dockerfile.

Sources in order: a folder of wheels; an index of CPU builds, unless there is an NVIDIA GPU or the index
does not answer within seconds; pip's default registry. The versions are pyproject.toml's; both are asked for
in one pip run, so that they match.
"""

import argparse
import queue
import re
import subprocess
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Sequence
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
PROBE_S = 4.0
WORK_TOGETHER = {
    ("torch",): "import torch",
    # A torchvision built for another torch imports or not, but never finds its own operators.
    ("torch", "torchvision"): (
        "import torch, torchvision; torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)"
    ),
}


def main() -> int:
    """Install and try out; returns 1 where no source has it or the pair does not work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels, tried first")
    parser.add_argument("--index", default="", help="index of CPU builds; empty: not asked")
    parser.add_argument("--with-torchvision", action="store_true")
    options = parser.parse_args()
    names = ("torch", "torchvision") if options.with_torchvision else ("torch",)
    wanted = requirements(PYPROJECT, names)
    if not install(wanted, options.wheels, options.index):
        return 1
    if trouble := failure([sys.executable, "-c", WORK_TOGETHER[names]]):
        say(f"error: {' and '.join(names)} were installed and do not work: {trouble}")
        return 1
    return 0


def install(wanted: Sequence[str], wheels: Path | None, index: str) -> bool:
    """Install from the first source that has it."""
    what = " ".join(wanted)
    if not failure(pip("--isolated", "--no-index", *wanted)):
        say(f"{what}: installed already")
        return True
    if wheels and any(wheels.glob("torch-*.whl")):
        trouble = failure(pip("--no-index", "--find-links", str(wheels), "--no-deps", *wanted))
        if not trouble:
            say(f"{what}: from {wheels}")
            return run(pip(*wanted))  # what they need in turn
        say(f"{wheels} does not serve: {trouble}")
    if index and has_gpu():
        say("an NVIDIA GPU is here: the default registry's build of torch it is")
    elif index:
        if not (why := unreachable(index, PROBE_S)):
            say(f"{what}: the CPU build from {index} (a minute or two)")
            if run(pip("--index-url", index, *wanted)):
                return True
            why = "pip failed"
        say(f"{index}: {why}; going on with the default registry")
    say(f"{what}: from the default registry (on Linux with the CUDA libraries, gigabytes: minutes)")
    return run(pip(*wanted))


def requirements(pyproject: Path, names: Sequence[str]) -> list[str]:
    """Look up each name's requirement among the project's dependencies and extras."""
    project = tomllib.loads(pyproject.read_text())["project"]
    listed = sum(project["optional-dependencies"].values(), project["dependencies"])
    by_name = {re.split(r"[^\w.-]", line)[0]: line for line in listed}
    return [by_name[name] for name in names]


def has_gpu() -> bool:
    """Say whether an NVIDIA driver with a device answers."""
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=20).returncode == 0  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return False


def unreachable(index: str, limit_s: float) -> str:
    """Say why the index does not serve torch, or nothing where it does; never takes longer than the limit.

    On a thread, left behind where it hangs: name look-ups and proxies know no time-out.
    """
    outcome: queue.Queue[str] = queue.Queue()

    def probe() -> None:
        try:
            page = urllib.request.urlopen(f"{index.rstrip('/')}/torch/", timeout=limit_s)  # noqa: S310
            with page:
                outcome.put("" if b"torch-" in page.read(2**16) else "the answer is not a package index")
        except Exception as error:
            outcome.put(f"not reachable ({getattr(error, 'reason', error)})")

    threading.Thread(target=probe, daemon=True).start()
    try:
        return outcome.get(timeout=limit_s)
    except queue.Empty:
        return f"no answer within {limit_s:g} s"


def pip(*arguments: str) -> list[str]:
    """Give the command; silent unless somebody watches, who then sees pip's progress bars."""
    quiet = [] if sys.stdout.isatty() else ["-qq"]
    return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *quiet, *arguments]


def run(command: list[str]) -> bool:
    """Run a command in the open; say whether it succeeded."""
    return subprocess.run(command).returncode == 0  # noqa: S603


def failure(command: list[str]) -> str:
    """Run a command out of sight; give the last line it said where it failed, else nothing."""
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode == 0:
        return ""
    return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]


def say(line: str) -> None:
    """Print a line now, before pip prints its own."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
