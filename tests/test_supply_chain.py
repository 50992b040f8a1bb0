"""What the image is made of is listed in CycloneDX, and looked up among known vulnerabilities."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parent.parent
FAULT = {
    "id": "GHSA-0000-0000-0000",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "A picture of a cat ends the process",
    "affected": [
        {
            "package": {"name": "pillow", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


def run(script: str, *arguments: str, folder: Path = ROOT, **environment: str) -> Any:
    """Run a script of deploy/ as make does."""
    command = [sys.executable, str(ROOT / "deploy" / script), *arguments]
    known = os.environ | environment
    return subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SBOM where no engine has the image: of this environment."""
    file = tmp_path_factory.mktemp("build") / "sbom.json"
    done = run("sbom.py", "--image", "no-such-image", "--output", str(file), SOURCE_DATE_EPOCH="0")
    assert done.returncode == 0, done.stderr
    assert "of this environment" in done.stdout
    return file.read_text()


def test_the_bill_of_materials_is_cyclonedx(bill: str) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(bill) is None
    assert validator.validate_str(bill.replace('"library"', '"lend-library"')) is not None


def test_it_has_what_the_service_requires_and_what_that_requires(bill: str) -> None:
    names = {one["name"] for one in json.loads(bill)["components"]}
    assert "cpython" in names
    assert {"fastapi", "numpy", "orjson", "pillow", "pydantic", "torch", "uvicorn"} <= names
    assert {"starlette", "pydantic-core", "httptools"} <= names  # the last by an extra of uvicorn
    assert not names & {"pytest", "ruff", "mypy", "torchvision", "pip-audit", "stride"}


def test_it_says_licences_and_the_libraries_within_wheels(bill: str) -> None:
    found = {one["name"]: one for one in json.loads(bill)["components"]}
    assert found["numpy"]["licenses"][0]["expression"].startswith("BSD-3-Clause")
    assert found["pillow"]["purl"].startswith("pkg:pypi/pillow@")
    within = {one["name"].lower() for one in found["pillow"]["components"]}
    assert any("jpeg" in name for name in within)
    python = [one for one in found.values() if one["type"] == "library"]
    assert sum("licenses" in one for one in python) > 0.9 * len(python)


def test_it_names_each_model_by_the_checksum_of_its_file(bill: str) -> None:
    found = [one for one in json.loads(bill)["components"] if one["type"] == "machine-learning-model"]
    files = {file.stem: hashlib.sha256(file.read_bytes()) for file in ROOT.glob("models/*.pt")}
    assert {one["name"]: one["hashes"][0]["content"] for one in found} == {
        name: digest.hexdigest() for name, digest in files.items()
    }


def test_everything_hangs_on_the_service(bill: str) -> None:
    document = json.loads(bill)
    edges = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    ahead, reached = [document["metadata"]["component"]["bom-ref"]], set()
    while ahead:
        reached.add(one := ahead.pop())
        ahead += [name for name in edges.get(one, []) if name not in reached]
    assert {one["bom-ref"] for one in document["components"]} <= reached


def test_the_image_lists_its_debian_packages(tmp_path: Path) -> None:
    """An engine that is a script stands for the container: its Python is ours, its Debian this machine's."""
    engine = tmp_path / "docker"
    engine.write_text(f'#!/bin/sh\n[ "$1" = image ] || exec "{sys.executable}" - stride\n')
    engine.chmod(0o755)
    file = tmp_path / "sbom.json"
    done = run("sbom.py", "--output", str(file), PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert "of the image stride" in done.stdout
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None
    debian = [
        one for one in json.loads(file.read_text())["components"] if one.get("purl", "")[:8] == "pkg:deb/"
    ]
    assert bool(debian) is Path("/var/lib/dpkg/status").exists()
    assert all("?arch=" in one["purl"] and one["version"] for one in debian)


@contextmanager
def advisories(faults: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """A vulnerability service that speaks osv.dev's protocol, and what it was asked."""
    asked: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(question)
            fault = faults.get(question["package"]["name"])
            body = json.dumps({"vulns": [fault]} if fault else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query", asked
        server.shutdown()


def test_an_audit_asks_about_every_dependency_and_is_content_where_nothing_is_known() -> None:
    with advisories({}) as (url, asked):
        done = run("audit.py", "--osv-url", url)
    assert done.returncode == 0, done.stderr
    assert f"{len(asked)} of {len(asked)} dependencies audited by osv: 0 known" in done.stdout
    names = {one["package"]["name"] for one in asked}
    assert {"pillow", "torch", "starlette"} <= names
    assert "pytest" not in names
    # Of a build such as 2.14.1+cpu no service has heard.
    assert not any("+" in one["version"] for one in asked)


def test_an_audit_fails_on_a_known_vulnerability_and_names_it() -> None:
    with advisories({"pillow": FAULT}) as (url, _):
        done = run("audit.py", "--osv-url", url)
    assert done.returncode == 1
    assert "GHSA-0000-0000-0000, mended in: 99.0" in done.stdout
    assert "1 known vulnerabilities" in done.stdout


def test_an_audit_that_could_ask_nobody_does_not_pass() -> None:
    done = run("audit.py", "--osv-url", "http://127.0.0.1:9/v1/query")
    assert done.returncode == 2
    assert done.stderr.startswith("not audited: no vulnerability service (osv) can be reached")
    assert len(done.stderr.splitlines()) == 1
