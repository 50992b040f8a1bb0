"""What the images are made of is pinned by hash, as pyproject.toml asks for it."""

import http.server
import importlib.util
import re
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PINS = ROOT / "deploy" / "requirements"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("file", sorted(PINS.glob("*.txt")), ids=lambda file: file.stem)
def test_every_package_is_pinned_by_its_hash(file: Path) -> None:
    pins = [one for one in re.split(r"^(?=\S)", file.read_text(), flags=re.MULTILINE) if one[:1] not in "#"]
    assert pins
    for pin in pins:
        assert re.match(r"[\w.-]+==[\w.+]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+\Z", pin), pin[:80]


def test_every_installation_asks_for_hashes() -> None:
    installs = re.findall(r"pip install (?!--quiet).*?(?=\\?\n|&&)", DOCKERFILE)
    unpinned = [one for one in installs if "$PINNED" not in one]
    assert len(installs) - len(unpinned) == 4
    # The source itself, by the setuptools that was installed with a hash.
    assert {one.strip() for one in unpinned} == {"pip install --no-compile --no-deps --no-build-isolation ."}
    assert "--require-hashes" in re.search(r'PINNED="(.*)"', DOCKERFILE)[1]  # type: ignore[index]


def test_the_pins_are_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        "serve": [],
        "tracing": extras["tracing"],
        "cluster": extras["cluster"],
        "train": extras["training"],
    }
    for name, more in wanted.items():
        files = [
            name,
            *(f"{one}-{variant}" for one in ("torch", "torchvision") for variant in ("cpu", "cuda")),
        ]
        pinned: dict[str, set[str]] = {}
        for file in files:
            for package, version in re.findall(
                r"^([\w.-]+)==([\w.]+)", (PINS / f"{file}.txt").read_text(), re.M
            ):
                pinned.setdefault(package, set()).add(version)
        for line in [*project["dependencies"], *more]:
            one = Requirement(line)
            assert len(pinned[one.name]) == 1, f"{one.name} is pinned in two ways"
            assert one.specifier.contains(next(iter(pinned[one.name]))), f"make lock: {line}"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """deploy/lock.py, writing into a folder of its own."""
    spec = importlib.util.spec_from_file_location("lock", ROOT / "deploy" / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    return module


@contextmanager
def index(page: str) -> Iterator[str]:
    """An index that has one page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/cpu/torch/" else 404)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/cpu"
        finally:
            server.shutdown()


def test_a_cpu_build_is_pinned_by_what_its_index_says(lock: ModuleType) -> None:
    wheels = {
        "torch-2.99.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl": "a",
        "torch-2.99.0%2Bcpu-cp311-cp311-manylinux_2_28_aarch64.whl": "b",
        "torch-2.99.0%2Bcpu-cp311-cp311-win_amd64.whl": "c",
        "torch-2.99.0%2Bcpu-cp312-cp312-manylinux_2_28_x86_64.whl": "d",
        "torch-2.98.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl": "e",
    }
    page = "".join(
        f'<a href="/whl/{name}#sha256={digit * 64}">x</a><br/>\n' for name, digit in wheels.items()
    )
    with index(page) as address:
        lock.write("torch-cpu", lock.cpu_build("torch", "2.99.0", address))
        with pytest.raises(LookupError, match=r"no CPU build of torch 2\.97\.0 for Python 3\.11"):
            lock.cpu_build("torch", "2.97.0", address)
    written = (lock.FOLDER / "torch-cpu.txt").read_text()
    assert re.findall("sha256:(.)", written) == ["a", "b"]
    assert lock.version_of("torch", "torch-cpu") == "2.99.0"
    assert lock.pins("torch-cpu") == ["torch==2.99.0+cpu"]


@pytest.fixture
def project(lock: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two packages beside torch, pinned at 1.0; a folder of wheels has 1.0 and 1.1 of all."""
    if importlib.util.find_spec("uv") is None:
        pytest.skip("uv is not installed")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("torch", "torchvision", "served", "traced"):
        for version in ("1.0", "1.1"):
            with zipfile.ZipFile(wheels / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
                about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                about += f"Requires-Dist: torch=={version}\n" if name == "torchvision" else ""
                wheel.writestr(f"{name}-{version}.dist-info/METADATA", about)
                wheel.writestr(f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
                wheel.writestr(f"{name}-{version}.dist-info/RECORD", "")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[project]\nname = "x"\nversion = "1"\ndependencies = ["torch", "served"]\n'
        '[project.optional-dependencies]\ntracing = ["traced"]\ncluster = []\ntraining = ["torchvision"]\n'
    )
    monkeypatch.setattr(lock, "PYPROJECT", file)
    pins = {"serve": ["served"], "tracing": ["served", "traced"], "cluster": ["served"], "train": ["served"]}
    pins |= {f"{name}-{build}": [name] for name in ("torch", "torchvision") for build in ("cpu", "cuda")}
    for name, packages in pins.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{package}==1.0\n" for package in packages))
    return file


def run(lock: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lock.py", "--index", "http://127.0.0.1:9/cpu", *arguments])
    status: int = lock.main()
    return status


@pytest.mark.usefixtures("project")
def test_an_upgrade_reaches_every_file_and_stays(lock: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(lock, monkeypatch) == 0
    assert lock.pins("tracing") == ["served==1.0", "traced==1.0"]
    for arguments in (["--upgrade"], []):
        assert run(lock, monkeypatch, *arguments) == 0
        assert [lock.pins(name) for name in lock.EXTRAS] == [
            ["served==1.1"],
            ["served==1.1", "traced==1.1"],
            ["served==1.1"],
            ["served==1.1"],
        ]


def test_only_a_pin_that_no_longer_serves_gives_way(
    lock: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_text(project.read_text().replace('"served"', '"served>1"'))
    assert run(lock, monkeypatch) == 0
    assert lock.pins("tracing") == ["served==1.1", "traced==1.0"]


@pytest.mark.usefixtures("project")
def test_no_file_changes_where_the_index_of_cpu_builds_does_not_answer(
    lock: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.read_text() for file in lock.FOLDER.glob("*.txt")}
    assert run(lock, monkeypatch, "--torch", "1.1", "--upgrade") == 1
    assert "error: " in capsys.readouterr().err
    assert {file: file.read_text() for file in lock.FOLDER.glob("*.txt")} == before
