"""Write a CycloneDX SBOM of the image: Python distributions with licences, Debian packages, models.

Where no container engine answers or the image is not built, of this environment: the service and what it
requires.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

INVENTORY = Path(__file__).parent / "inventory.py"
ENGINES = ("docker", "podman")
Listed = dict[str, Any]


def main() -> int:
    """Write the file, and say of what."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", default="stride")
    parser.add_argument("--output", type=Path, default=Path("build/sbom.json"))
    options = parser.parse_args()
    engine = engine_with(options.image)
    listed = inventory_of_image(engine, options.image) if engine else inventory_of_environment()
    document = bill_of_materials(listed, options.image, "image" if engine else "environment")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    source = f"the image {options.image}" if engine else "this environment: no engine has the image"
    counts = ", ".join(f"{len(listed[kind])} {kind}" for kind in ("python", "debian", "models"))
    sys.stdout.write(f"{options.output}: {counts}; of {source}\n")
    return 0


def engine_with(image: str) -> str | None:
    """Find a container engine that answers and has the image."""
    for engine in filter(shutil.which, ENGINES):
        command = [engine, "image", "inspect", image]
        if not subprocess.run(command, capture_output=True).returncode:  # noqa: S603
            return engine
    return None


def inventory_of_image(engine: str, image: str) -> Listed:
    """List what is in the image, by its own Python, which may touch nothing meanwhile."""
    contained = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    return read([engine, "run", "--rm", "--interactive", *contained, "--entrypoint=python", image, "-"])


def inventory_of_environment() -> Listed:
    """List the service and what it requires; the machine's Debian packages are no part of it."""
    return read([sys.executable, "-", "stride"]) | {"debian": []}


def read(command: list[str]) -> Listed:
    done = subprocess.run(command, input=INVENTORY.read_bytes(), stdout=subprocess.PIPE, check=True)  # noqa: S603
    listed: Listed = json.loads(done.stdout)
    return listed


def bill_of_materials(listed: Listed, name: str, described: str) -> dict[str, Any]:
    """Put the list in CycloneDX 1.6. SOURCE_DATE_EPOCH sets the time, for a file that can be made again."""
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH") or datetime.now(UTC).timestamp())
    own = next(one for one in listed["python"] if one["name"] == "stride")
    others = [one for one in listed["python"] if one is not own]
    system = listed["system"]
    components = [
        *base_components(listed["interpreter"], system if listed["debian"] else {}),
        *(python_component(one) for one in others),
        *(debian_component(one, system) for one in listed["debian"]),
        *(model_component(one) for one in listed["models"]),
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components, sort_keys=True))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds"),
            "lifecycles": [{"phase": "post-build" if described == "image" else "build"}],
            "component": {
                **python_component(own),
                "type": "container" if described == "image" else "application",
            },
            "properties": [
                {"name": "stride:described", "value": described},
                {"name": "stride:image", "value": name},
                {"name": "stride:system", "value": system.get("PRETTY_NAME", "")},
            ],
        },
        "components": components,
        "dependencies": dependencies(listed["python"], [one["bom-ref"] for one in components]),
    }


def base_components(python: str, system: dict[str, str]) -> list[dict[str, Any]]:
    """Describe the interpreter, which is no distribution, and the system whose packages are listed."""
    cpe = f"cpe:2.3:a:python:python:{python}:*:*:*:*:*:*:*"
    known: dict[str, Any] = {"name": "cpython", "version": python, "cpe": cpe}
    listed = [{"type": "platform", "bom-ref": "cpython", **known, "licenses": [{"expression": "PSF-2.0"}]}]
    if system:
        known = {"name": system.get("ID", "debian"), "version": system.get("VERSION_ID", "")}
        listed.append({"type": "operating-system", "bom-ref": "system", **known})
    return listed


def python_component(one: dict[str, Any]) -> dict[str, Any]:
    """Describe a distribution and what was compiled into it."""
    reference = f"pkg:pypi/{one['name']}@{quote(one['version'])}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": one["name"],
        "version": one["version"],
        "purl": reference,
        "description": one["summary"],
        "licenses": licences(one),
        "components": carried(one["carries"], reference),
    }
    return {key: value for key, value in component.items() if value}


def licences(one: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the SPDX expression where the distribution has one, else the words it uses for its licence."""
    if one["spdx"]:
        return [{"expression": one["spdx"]}]
    return [{"license": {"name": one["licence"]}}] if one["licence"] else []


def carried(parts: list[dict[str, Any]], owner: str) -> list[dict[str, Any]]:
    """List the libraries compiled into a wheel; a library told of twice counts once, the wheel itself not."""
    found = {}
    for part in parts:
        purl = part.get("purl", "")
        if purl.startswith(f"{owner.partition('@')[0]}@") or "file://" in purl:
            continue
        key = purl or f"{part['name']}@{part.get('version', '')}"
        kept = {name: part[name] for name in ("name", "version", "purl") if part.get(name)}
        found[key] = {"type": "library", "bom-ref": f"{owner}#{key}", **kept}
    return list(found.values())


def debian_component(one: dict[str, Any], system: dict[str, str]) -> dict[str, Any]:
    """Describe a Debian package."""
    release = f"{system.get('ID', 'debian')}-{system.get('VERSION_ID', '')}"
    version = quote(one["version"])
    purl = f"pkg:deb/debian/{quote(one['name'])}@{version}?arch={one['architecture']}&distro={release}"
    component = {
        "type": "library",
        "bom-ref": purl,
        "name": one["name"],
        "version": one["version"],
        "purl": purl,
    }
    names = [{"license": {"name": name}} for name in one["licences"]]
    return component | ({"licenses": names} if names else {})


def model_component(one: dict[str, str]) -> dict[str, Any]:
    """Describe a model by the checksum that models/SHA256SUMS has too."""
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{one['name']}",
        "name": one["name"],
        "version": one["version"],
        "hashes": [{"alg": "SHA-256", "content": one["sha256"]}],
    }


def dependencies(python: list[dict[str, Any]], components: list[str]) -> list[dict[str, Any]]:
    """Say what requires what; the service itself stands on everything that nobody else asks for."""
    references = {one["name"]: f"pkg:pypi/{one['name']}@{quote(one['version'])}" for one in python}
    edges = {references[one["name"]]: {references[name] for name in one["requires"]} for one in python}
    asked_for = set().union(*edges.values())
    edges[references["stride"]] |= set(components) - asked_for
    return [{"ref": name, "dependsOn": sorted(needed)} for name, needed in sorted(edges.items())]


if __name__ == "__main__":
    sys.exit(main())
