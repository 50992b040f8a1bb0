"""An environment for each peer, installed on demand; the product needs none of them."""

import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
PLACE = REPOSITORY / "build" / "peers"
INSTALL_LIMIT_S = 900


class NotInstalled(Exception):
    """A peer that this machine cannot run; the sentence says why."""


def ensure(name: str) -> Path:
    """Give the environment of a peer, made and installed if it is not there. Raises NotInstalled."""
    wanted = (PEERS / f"{name}.txt").read_text()
    place = PLACE / name
    stamp = place / "installed.txt"
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"installing {name} into build/peers", file=sys.stderr)
        create(place)
        install(place, PEERS / f"{name}.txt")
        stamp.write_text(wanted)
    return place


def create(place: Path) -> None:
    """Make an environment that finds this one's packages (torch above all) behind its own."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
    shared = sysconfig.get_path("purelib")
    (site_packages(place) / "zz_shared.pth").write_text(shared + "\n")  # read last: its own come first


def install(place: Path, requirements: Path) -> None:
    """Install a peer's requirements; what it pins otherwise than this environment, it gets of its own."""
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*pip, "-r", str(requirements)], capture_output=True, text=True, timeout=INSTALL_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"pip took more than {INSTALL_LIMIT_S} s") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalled(f"pip could not install it: {errors[-1][:160] if errors else 'no reason given'}")


def site_packages(place: Path) -> Path:
    """Give the folder of an environment's packages."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))


def version_in(place: Path, package: str) -> str:
    """Give the version of a package that an environment has itself."""
    found = distributions(name=package, path=[str(site_packages(place))])
    return next((each.version for each in found), "not installed")


def need(program: str, hint: str) -> None:
    """Check that a program is there. Raises NotInstalled."""
    if shutil.which(program) is None:
        raise NotInstalled(hint)
