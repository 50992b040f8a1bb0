"""What Makefile, Dockerfile and compose file promise; `make test-container` holds the image itself to it."""

import http.server
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from service.__main__ import DRAIN_MARGIN_S
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions(stage: str) -> list[str]:
    """The instructions of one stage and of the stages it is made from, continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    stages = {
        match[2]: [match[1], *match[3].strip().splitlines()]
        for match in re.finditer(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL)
    }
    base, *own = stages[stage]
    found = [*(instructions(base) if base in stages else [f"FROM {base}"]), *own]
    sources = [name for line in own for name in re.findall(r"COPY --from=(\S+)", line)]
    return [*(line for source in sources for line in instructions(source)), *found]


def test_the_last_stage_is_the_service() -> None:
    assert re.findall(r"^FROM .* AS (\S+)", DOCKERFILE, re.MULTILINE)[-1] == "serve"


def test_the_image_is_made_of_the_service_and_models_alone() -> None:
    copied = {
        word
        for line in instructions("serve")
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == {
        "deploy/requirements/torch-${VARIANT}.txt",
        "deploy/requirements/${EXTRA}.txt",
        "deploy/slim_image.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "service",
        "models",
    }


def test_the_build_context_holds_nothing_that_no_image_needs() -> None:
    kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert kept[0] == "*"
    assert not any("tests" in line or ".git" in line for line in kept)


def test_every_base_image_is_one_pinned_version() -> None:
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE))
    assert bases - stages == {"scratch", "python:3.11-slim-bookworm"}


@pytest.mark.parametrize("stage", ["serve", "train"])
def test_images_run_as_an_ordinary_user_given_by_number(stage: str) -> None:
    users = [line for line in instructions(stage) if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]


def test_the_service_is_the_first_process_and_gets_the_signal_to_stop() -> None:
    command = next(line for line in instructions("serve") if line.startswith("CMD "))
    assert json.loads(command.removeprefix("CMD "))[:3] == ["python", "-m", "service"]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_health_check_asks_whether_the_service_is_ready(status: int | None, healthy: bool) -> None:
    check = next(line for line in instructions("serve") if line.startswith("HEALTHCHECK "))
    _, *code = json.loads(check[check.index("[") :])
    with answering(status or 200) as port:
        target = port if status else free_port()
        command = [part.replace("8000", str(target)) for part in code]
        done = subprocess.run([sys.executable, *command], capture_output=True, check=False)
    assert (done.returncode == 0) is healthy


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file's services, its variables not yet filled in."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return services


@pytest.mark.parametrize("name", ["stride", "train", "train-cpu", "prometheus", "grafana"])
def test_containers_can_do_little_beyond_their_work(compose: dict[str, Any], name: str) -> None:
    one = compose[name]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["tmpfs"][0].startswith("/tmp:")


def test_the_service_container_has_limits_and_read_only_models(compose: dict[str, Any]) -> None:
    one = compose["stride"]
    assert set(one["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert one["volumes"] == ["./models:/app/models:ro"]
    assert one["ports"] == ["${PORT:-8000}:8000"]
    assert "cap_add" not in one


def test_the_service_is_given_longer_to_stop_than_it_takes(compose: dict[str, Any]) -> None:
    grace_s = int(compose["stride"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings.model_fields["timeout_s"].default + DRAIN_MARGIN_S


def test_every_setting_reaches_the_container(compose: dict[str, Any]) -> None:
    settings = {PREFIX + name.upper() for name in Settings.model_fields} - {"STRIDE_MODELS_DIR"}
    assert set(compose["stride"]["environment"]) == settings


def test_threads_follow_the_limit_on_processors(compose: dict[str, Any]) -> None:
    assert compose["stride"]["deploy"]["resources"]["limits"]["cpus"] == "${CPUS:-2}"
    assert compose["stride"]["environment"]["STRIDE_THREADS"] is None  # as many as the limit pays for


def test_training_is_a_profile_that_reserves_a_gpu_or_does_without(compose: dict[str, Any]) -> None:
    devices = compose["train"]["deploy"]["resources"]["reservations"]["devices"]
    assert (devices[0]["driver"], devices[0]["capabilities"]) == ("nvidia", ["gpu"])
    assert compose["train"]["profiles"] == ["train"]
    assert compose["train-cpu"]["profiles"] == ["train-cpu"]
    assert "deploy" not in compose["train-cpu"]
    assert "./models:/app/models" in compose["train"]["volumes"]
    assert compose["train"]["build"]["args"] == {"VARIANT": "cuda"}
    assert "args" not in compose["train-cpu"]["build"]


def test_the_service_has_a_gpu_by_an_override() -> None:
    one = yaml.safe_load((ROOT / "deploy" / "compose.cuda.yml").read_text())["services"]["stride"]
    assert one["build"]["args"] == {"VARIANT": "cuda"}
    assert one["environment"] == {"STRIDE_DEVICE": "cuda"}
    assert one["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


@pytest.mark.parametrize("variables", [{}, {"PORT": "9000", "CPUS": "1", "WHEELS": "."}])
def test_compose_accepts_its_file(variables: dict[str, str]) -> None:
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose")
    command = [
        "docker",
        "compose",
        "--profile",
        "train",
        "--profile",
        "train-cpu",
        "--profile",
        "observability",
        "config",
        "--format",
        "json",
    ]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        command, cwd=ROOT, env=kept | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert set(services) == {"stride", "train", "train-cpu", "prometheus", "grafana"}
    assert services["stride"]["ports"][0]["published"] == variables.get("PORT", "8000")
    assert str(services["stride"]["deploy"]["resources"]["limits"]["cpus"]) == variables.get("CPUS", "2")


def test_make_knows_its_targets() -> None:
    targets = ["help", "setup", "serve", "train", "test", "test-container", "audit", "sbom"]
    targets += ["lock", "lint", "format", "clean"]
    done = make("--dry-run", *targets)
    assert done.returncode == 0, done.stderr


def test_make_alone_lists_the_targets() -> None:
    listed = set(re.findall(r"^make (\S+)", make().stdout, re.MULTILINE))
    assert {"setup", "serve", "train", "test", "lint"} <= listed


def test_make_passes_its_variables_on() -> None:
    assert (
        "--host 0.0.0.0 --port 9000 --workers 2"
        in make("--dry-run", "serve", "PORT=9000", "HOST=0.0.0.0", "WORKERS=2").stdout
    )
    assert (
        '-m training fit --data "my pictures" --recipe quick --epochs 2'
        in make("--dry-run", "train", "DATA=my pictures", "RECIPE=quick", "ARGS=--epochs 2").stdout
    )


def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    done = make("serve", f"VENV={tmp_path / 'environment'}", "PYTHON=/nowhere/python")
    assert done.returncode != 0
    assert "No Python 3.11, 3.12 or 3.13" in done.stderr


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, whether or not make runs these tests."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE") and name != "MFLAGS"}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=kept, capture_output=True, text=True, check=False
    )


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """deploy/install_torch.py where nothing is installed; its pip does not run, `ran` lists the commands."""
    spec = importlib.util.spec_from_file_location("install_torch", ROOT / "deploy" / "install_torch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    commands: list[str] = []

    def record(command: list[str]) -> bool:
        commands.append(" ".join(command))
        return "--index-url https://broken" not in commands[-1]

    monkeypatch.setattr(module, "ran", commands, raising=False)
    monkeypatch.setattr(module, "run", record)
    monkeypatch.setattr(
        module, "failure", lambda command: "" if "--find-links" in command else "not installed"
    )
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    return module


PAIR = ["torch>=2", "torchvision>=0.2"]


def test_torch_and_torchvision_are_asked_for_as_pyproject_has_them(installer: ModuleType) -> None:
    found = installer.requirements(installer.PYPROJECT, ["torch", "torchvision"])
    assert [re.sub(r"\W.*", "", one) for one in found] == ["torch", "torchvision"]
    assert all(f'"{one}"' in installer.PYPROJECT.read_text() for one in found)


def test_cpu_builds_come_from_their_index(installer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "unreachable", lambda *_: "")
    assert installer.install(PAIR, None, "https://cpu.example")
    assert [line.partition("install ")[2] for line in installer.ran] == [
        "--disable-pip-version-check -qq --index-url https://cpu.example torch>=2 torchvision>=0.2"
    ]


@pytest.mark.parametrize(
    ("index", "gpu", "why"),
    [("https://cpu.example", False, "no answer"), ("https://cpu.example", True, ""), ("", False, "")],
    ids=["unreachable index", "GPU", "no index"],
)
def test_the_default_registry_serves_otherwise(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, index: str, gpu: bool, why: str
) -> None:
    monkeypatch.setattr(installer, "unreachable", lambda *_: why)
    monkeypatch.setattr(installer, "has_gpu", lambda: gpu)
    assert installer.install(PAIR, None, index)
    assert len(installer.ran) == 1
    assert "--index-url" not in installer.ran[0]


def test_an_index_that_fails_half_way_gives_way_to_the_default_registry(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "unreachable", lambda *_: "")
    assert installer.install(PAIR, None, "https://broken.example")
    assert "--index-url" not in installer.ran[-1]
    assert len(installer.ran) == 2


def test_a_folder_of_wheels_comes_first(installer: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    assert installer.install(["torch>=2"], tmp_path, "https://cpu.example")
    assert len(installer.ran) == 1
    assert "--index-url" not in installer.ran[0]


def test_an_index_with_torch_is_reachable(installer: ModuleType) -> None:
    with answering(200, b'<a href="/torch-2.15.0%2Bcpu-cp313-cp313-linux.whl">') as port:
        assert installer.unreachable(f"http://127.0.0.1:{port}/cpu/", 5) == ""


@pytest.mark.parametrize(("status", "body"), [(200, b"<h1>Please log in</h1>"), (404, b"")])
def test_an_index_without_torch_is_not_reachable(installer: ModuleType, status: int, body: bytes) -> None:
    with answering(status, body) as port:
        assert installer.unreachable(f"http://127.0.0.1:{port}/cpu", 5)


def test_an_index_that_hangs_costs_no_more_than_the_limit(installer: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        assert installer.unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.3)
        assert time.monotonic() - start < 2


@contextmanager
def answering(status: int, body: bytes = b"{}") -> Iterator[int]:
    """A server that answers every GET so, on the port given."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_address[1]
        server.shutdown()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
