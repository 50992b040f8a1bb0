"""Pin what the images are made of, each file by its SHA-256, into deploy/requirements/; needs uv.

serve.txt, tracing.txt, cluster.txt and train.txt hold what pyproject.toml asks for, and the extra of that
name. The two builds of torch have files of their own: torch-cpu.txt, from the index of CPU builds, and
torch-cuda.txt, the default registry's with the CUDA libraries; torchvision's likewise. Pins are kept where
they still serve; --upgrade looks for newer ones.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).parent / "requirements"
PYPROJECT = FOLDER.parent.parent / "pyproject.toml"
PYTHON = "3.11"  # the images'
EXTRAS = {"serve": [], "tracing": ["tracing"], "cluster": ["cluster"], "train": ["training"]}
PLATFORM = "x86_64-manylinux_2_28"  # hashes are of every platform's wheels
OF_TORCH = re.compile(r"torch==|triton==|nvidia-|cuda-")  # hang on the build of torch
OF_TORCHVISION = re.compile(r"torchvision==")
HEADER = "# Made by `make lock`. Do not edit.\n"


def main() -> int:
    """Write the files; returns 1 where uv finds no answer or the CPU builds' hashes cannot be had."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", default="", help="version; default: as pinned now")
    parser.add_argument("--index", required=True, help="index of CPU builds, for another version of torch")
    parser.add_argument("--upgrade", action="store_true", help="look for newer versions")
    options = parser.parse_args()
    version = options.torch or version_of("torch", "torch-cpu")
    try:
        files = gather(version, options.index, options.upgrade)
    except (OSError, LookupError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"error: {getattr(error, 'stderr', None) or error}\n")
        return 1
    for name, blocks in files.items():  # all or, above, none
        write(name, blocks)
    return 0


def gather(torch: str, index: str, upgrade: bool) -> dict[str, list[str]]:
    """Find what each file is to hold; the CPU builds' are left out where they stay as they are."""
    resolved: dict[str, list[str]] = {}
    for name, extras in EXTRAS.items():
        # The others keep to the service's versions, so that what was tested together stays together.
        same = [block.split()[0] for block in resolved.get("serve", [])]
        kept = [] if upgrade else [*pins(name), *pins("torch-cuda"), *pins("torchvision-cuda")]
        resolved[name] = resolve(extras, [f"torch=={torch}", *same], kept)
    files = {
        name: [one for one in blocks if not OF_TORCH.match(one) and not OF_TORCHVISION.match(one)]
        for name, blocks in resolved.items()
    }
    files["torch-cuda"] = [one for one in resolved["train"] if OF_TORCH.match(one)]
    files["torchvision-cuda"] = [one for one in resolved["train"] if OF_TORCHVISION.match(one)]
    for name in ("torch", "torchvision"):
        found = next(one for one in files[f"{name}-cuda"] if one.startswith(f"{name}=="))
        version = found.split()[0].partition("==")[2]
        if version != version_of(name, f"{name}-cpu"):
            files[f"{name}-cpu"] = cpu_build(name, version, index)
    return files


def version_of(package: str, name: str) -> str:
    """Look up a package's version in a file of pins, without its local part (`+cpu`)."""
    return next(
        (pin.split("==")[1].split("+")[0] for pin in pins(name) if pin.startswith(f"{package}==")), ""
    )


def resolve(extras: list[str], constraints: list[str], kept: list[str]) -> list[str]:
    """Let uv pin everything; gives a block a package, `name==version` and its hashes.

    `constraints` have to hold; the pins in `kept` hold where nothing speaks against them.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pins.txt"
        output.write_text("\n".join(kept))  # uv prefers what it finds there
        command = [sys.executable, "-m", "uv", "pip", "compile", str(PYPROJECT), "--quiet", "--no-header"]
        command += ["--no-annotate", "--generate-hashes", "--python-version", PYTHON]
        command += ["--python-platform", PLATFORM, "--constraints", "-", "--output-file", str(output)]
        command += [f"--extra={extra}" for extra in extras]
        subprocess.run(command, input="\n".join(constraints), capture_output=True, text=True, check=True)  # noqa: S603
        return re.findall(r"^\S.*\n(?:[ \t].*\n)*", output.read_text(), re.MULTILINE)


def pins(name: str) -> list[str]:
    """List the `name==version` of a file."""
    file = FOLDER / f"{name}.txt"
    return re.findall(r"^([\w.-]+==\S+)", file.read_text(), re.MULTILINE) if file.exists() else []


def cpu_build(name: str, version: str, index: str) -> list[str]:
    """Pin the CPU builds of a package for Linux, whose hashes stand in the index's page."""
    tag = PYTHON.replace(".", "")
    with urllib.request.urlopen(f"{index.rstrip('/')}/{name}/", timeout=30) as page:  # noqa: S310
        text = page.read().decode()
    wheel = rf"{name}-{re.escape(version)}(?:%2B|\+)cpu-cp{tag}-cp{tag}-manylinux\S*?\.whl"
    hashes = sorted(set(re.findall(rf"{wheel}#sha256=([0-9a-f]{{64}})", text)))
    if not hashes:
        raise LookupError(f"{index} has no CPU build of {name} {version} for Python {PYTHON} on Linux")
    return [f"{name}=={version}+cpu" + "".join(f" \\\n    --hash=sha256:{one}" for one in hashes) + "\n"]


def write(name: str, blocks: list[str]) -> None:
    """Write a file of pins, and say how many."""
    (FOLDER / f"{name}.txt").write_text(HEADER + "".join(blocks))
    sys.stdout.write(f"deploy/requirements/{name}.txt: {len(blocks)} packages\n")


if __name__ == "__main__":
    sys.exit(main())
