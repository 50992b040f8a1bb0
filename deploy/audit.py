"""Look up the service's installed dependencies among known vulnerabilities, with pip-audit.

Exit status: 0 none is known, 1 some are, 2 no vulnerability service could be asked about all of them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

INVENTORY = Path(__file__).parent / "inventory.py"
SERVICES = ("pypi", "osv")
TIMEOUT_S = 15


def main() -> int:
    """Ask the services; print what the one says that knows most of the dependencies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--osv-url", help="a mirror of osv.dev, which alone is asked then")
    mirror = parser.parse_args().osv_url
    services = ("osv",) if mirror else SERVICES
    listing = subprocess.run(  # noqa: S603
        [sys.executable, str(INVENTORY), "stride"], stdout=subprocess.PIPE, check=True
    )
    pins = pinned(json.loads(listing.stdout)["python"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text("\n".join(pins))
        answers = [(service, ask(service, file, mirror)) for service in services]
    # The one that knows most: an index without advisories skips everything, and still exits with 0.
    service, known = max(answers, key=lambda answer: len(answer[1]))
    if not known:
        sys.stderr.write(
            f"not audited: no vulnerability service ({', '.join(services)}) can be reached from here"
            " or knows the dependencies; try again with access to one\n"
        )
        return 2
    return report(service, known, len(pins))


def pinned(python: list[dict[str, Any]]) -> list[str]:
    """Pin what is installed. A local version (`+cpu`) is a build of the public one, whose faults it has."""
    return [f"{one['name']}=={one['version'].partition('+')[0]}" for one in python if one["name"] != "stride"]


def ask(service: str, file: Path, mirror: str | None) -> list[dict[str, Any]]:
    """Let pip-audit ask; give what the service knows, nothing where it does not answer."""
    options = [
        "--format=json",
        f"--timeout={TIMEOUT_S}",
        "--progress-spinner=off",
        f"--vulnerability-service={service}",
    ]
    pins = ["--no-deps", "--disable-pip", f"--requirement={file}"]
    command = [sys.executable, "-m", "pip_audit", *options, *pins]
    if mirror:
        command.append(f"--osv-url={mirror}")
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    try:
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return []
    return [one for one in answers if "skip_reason" not in one]


def report(service: str, answers: list[dict[str, Any]], asked: int) -> int:
    """Say what is known, one vulnerability a line, and of how many of the dependencies anything is."""
    known = [(one, fault) for one in answers for fault in one["vulns"]]
    for one, fault in known:
        mended = ", ".join(fault["fix_versions"]) or "none yet"
        sys.stdout.write(f"{one['name']} {one['version']}: {fault['id']}, mended in: {mended}\n")
    sys.stdout.write(
        f"{len(answers)} of {asked} dependencies audited by {service}: {len(known)} known vulnerabilities\n"
    )
    if known:
        return 1
    return 0 if len(answers) == asked else 2


if __name__ == "__main__":
    sys.exit(main())
