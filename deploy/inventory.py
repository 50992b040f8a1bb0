"""List what is installed where this runs, as JSON: Python distributions, Debian packages, models.

Runs inside the image, fed to its Python on standard input, so it needs nothing but the standard library. With
a distribution's name as argument it lists that one and what it requires, for an environment that has more.
"""

import hashlib
import json
import platform
import re
import sys
import sysconfig
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

DPKG = Path("/var/lib/dpkg/status")
REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^]]*)\])?")


def main() -> None:
    """Write the list to standard output."""
    found = {normal(one.metadata["Name"]): one for one in [*below_environment(), *distributions()]}
    kept = sorted(required(sys.argv[1], found) if len(sys.argv) > 1 else found)
    listed = {
        "python": [describe(found[name], set(kept)) for name in kept],
        "debian": debian_packages(DPKG) if DPKG.exists() else [],
        "system": system(),
        "interpreter": platform.python_version(),
        "models": [describe_model(file) for file in sorted(Path("models").glob("*.pt"))],
    }
    sys.stdout.write(json.dumps(listed))


def below_environment() -> Iterable[Distribution]:
    """List what the environment's base has and the environment does not see: an image's own pip, say."""
    paths = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_prefix})
    return distributions(path=[paths["purelib"]]) if sys.prefix != sys.base_prefix else []


def normal(name: str) -> str:
    """Write a distribution's name as the index does (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needs(one: Distribution, extras: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    """List what a distribution with these extras requires: names, and which extras of each."""
    listed = []
    for line in one.requires or []:
        requirement, _, marker = line.partition(";")
        wanted = re.findall(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        match = REQUIREMENT.match(requirement)
        if match and (not wanted or extras.intersection(wanted)):
            listed.append((normal(match[1]), frozenset(re.findall(r"[A-Za-z0-9._-]+", match[2] or ""))))
    return listed


def required(name: str, found: dict[str, Distribution]) -> set[str]:
    """Follow requirements from one distribution. What a marker keeps from being installed is passed over."""
    seen: set[tuple[str, frozenset[str]]] = set()
    ahead = [(normal(name), frozenset[str]())]
    while ahead:
        one = ahead.pop()
        if one in seen or one[0] not in found:
            continue
        seen.add(one)
        ahead += needs(found[one[0]], one[1])
    if not seen:
        raise SystemExit(f"{name} is not installed here")
    return {name for name, _ in seen}


def describe(one: Distribution, known: set[str]) -> dict[str, Any]:
    """Describe a Python distribution, with the components its wheel carries and tells of (PEP 770)."""
    every_extra = frozenset(one.metadata.get_all("Provides-Extra") or [])
    return {
        "name": normal(one.metadata["Name"]),
        "version": one.version,
        "licence": licence(one),
        "spdx": str(one.metadata["License-Expression"] or ""),
        "summary": one.metadata["Summary"] or "",
        "requires": sorted(
            {name for name, _ in needs(one, every_extra)} & known - {normal(one.metadata["Name"])}
        ),
        "carries": [part for text in embedded(one) for part in json.loads(text).get("components", [])],
    }


def licence(one: Distribution) -> str:
    """Give the licence in the distribution's own words, where they are few, else as it is classified."""
    metadata = one.metadata
    classified = [
        line.split(" :: ")[-1] for line in metadata.get_all("Classifier") or [] if "License ::" in line
    ]
    stated = str(metadata["License"] or "").strip()
    short = stated if stated and len(stated) < 80 and "\n" not in stated else ""
    return short or ", ".join(classified)


def embedded(one: Distribution) -> list[str]:
    """Read the CycloneDX files that came in the wheel."""
    files = [file for file in one.files or [] if ".dist-info/sboms/" in file.as_posix()]
    return [file.read_text() for file in files if file.suffix == ".json"]


def debian_packages(status: Path) -> list[dict[str, Any]]:
    """Read dpkg's own list; only what is installed, not what left its settings behind."""
    packages = []
    for block in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(re.findall(r"^([A-Z][A-Za-z-]*): (.*)$", block, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            copyright_file = Path("/usr/share/doc", fields["Package"], "copyright")
            packages.append(
                {
                    "name": fields["Package"],
                    "version": fields["Version"],
                    "architecture": fields["Architecture"],
                    "licences": sorted(debian_licences(copyright_file)),
                }
            )
    return packages


def debian_licences(file: Path) -> set[str]:
    """Read the short names of a machine-readable copyright file; none where it is written freely."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return {name.strip() for name in re.findall(r"^License: *(\S.*)$", text, re.MULTILINE)}


def system() -> dict[str, str]:
    """Name the operating system, as it does itself."""
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return {}
    return {key: value.strip('"') for key, value in re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE)}


def describe_model(file: Path) -> dict[str, str]:
    """Describe an artefact by its checksum and the name and version within, without loading it."""
    with zipfile.ZipFile(file) as archive:
        inside = next(name for name in archive.namelist() if name.endswith("/extra/model.json"))
        described = json.loads(archive.read(inside))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"name": described["name"], "version": described["version"], "sha256": digest}


if __name__ == "__main__":
    main()
