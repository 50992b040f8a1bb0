"""How each server is started: files it wants in a folder of its own, then a command and its environment."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving.environments import PEERS, REPOSITORY, NotInstalled, need
from benchmarks.serving.process import free_ports

MODEL = REPOSITORY / "models" / "cifar10-lenet.pt"
BATCH, WAIT_MS = 32, 1
BATCHING = {"MAX_BATCH": str(BATCH), "MAX_WAIT_S": str(WAIT_MS / 1000)}


class Plan(NamedTuple):
    """A command, and what it wants in its environment."""

    command: list[str]
    environment: dict[str, str]


# The environment's folder, the port, a folder to work in -> what to run there.
Launch = Callable[[Path, int, Path], Plan]


def ours(workers: int, model: Path | None = MODEL) -> Launch:
    """Serve as the README says, with one model or (`None`) with all of them."""

    def launch(place: Path, port: int, folder: Path) -> Plan:
        models = REPOSITORY / "models"
        if model is not None:
            models = folder / "models"
            models.mkdir()
            shutil.copy(model, models)
        command = [sys.executable, "-m", "service", "--port", str(port), "--workers", str(workers)]
        return Plan(command, {"STRIDE_MODELS_DIR": str(models), "PYTHONPATH": str(REPOSITORY)})

    return launch


def uvicorn(app: str, workers: int, threads: int | None = None) -> Launch:
    """Run an application of `peers` in the product's environment."""

    def launch(place: Path, port: int, folder: Path) -> Plan:
        command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--workers", str(workers)]
        return Plan([*command, "--no-access-log"], surroundings(threads))

    return launch


def surroundings(threads: int | None = 1) -> dict[str, str]:
    """What every peer finds in its environment: the shared module, the model, its threads."""
    found = {"PYTHONPATH": str(PEERS), "ARTEFACT": str(MODEL)}
    if threads is not None:
        found |= {"TORCH_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    return found


def litserve(place: Path, port: int, folder: Path) -> Plan:
    """Run LitServe's script."""
    command = [str(place / "bin/python"), str(PEERS / "litserve_app.py"), str(port)]
    return Plan(command, surroundings() | BATCHING)


def rayserve(place: Path, port: int, folder: Path) -> Plan:
    """Run Ray Serve's script; it starts a cluster of one machine and ends it."""
    command = [str(place / "bin/python"), str(PEERS / "rayserve_app.py"), str(port)]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder)}
    return Plan(command, surroundings() | BATCHING | quiet)


def bentoml(place: Path, port: int, folder: Path) -> Plan:
    """Serve with BentoML's command line."""
    command = [str(place / "bin/python"), "-m", "bentoml", "serve", "bentoml_service:Pictures"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(PEERS)]
    home = {"BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "True", "MAX_WAIT_MS": "1000"}
    return Plan(command, surroundings() | BATCHING | home)


def mlserver(place: Path, port: int, folder: Path) -> Plan:
    """Write MLServer's two settings files."""
    ports = free_ports(2)
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": ports[0], "metrics_port": ports[1]}
    settings |= {"debug": False, "parallel_workers": 2, "metrics_endpoint": None}
    model = {"name": "classifier", "implementation": "mlserver_runtime.Runtime"}
    model |= {"max_batch_size": BATCH, "max_batch_time": WAIT_MS / 1000}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    start = "import sys; from mlserver.cli import main; sys.argv = ['mlserver', 'start', '.']; main()"
    return Plan([str(place / "bin/python"), "-c", start], surroundings())


def torchserve(place: Path, port: int, folder: Path) -> Plan:
    """Archive the model and write TorchServe's settings. Raises NotInstalled where there is no Java."""
    need("java", "TorchServe needs Java 17 (Debian, Ubuntu: apt install openjdk-17-jre-headless)")
    scripts = str(place / "bin")
    store = folder / "store"
    store.mkdir()
    workers = {"minWorkers": 2, "maxWorkers": 2, "batchSize": BATCH, "maxBatchDelay": WAIT_MS}
    (folder / "model.yaml").write_text(json.dumps(workers))
    archive = [f"{scripts}/torch-model-archiver", "--model-name", "classifier", "--version", "1.0"]
    archive += [
        "--handler",
        str(PEERS / "torchserve_handler.py"),
        "--config-file",
        str(folder / "model.yaml"),
    ]
    archive += ["--extra-files", str(PEERS / "classifier.py"), "--export-path", str(store)]
    done = subprocess.run(archive, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled(f"its archiver failed: {done.stderr.strip().splitlines()[-1][:160]}")
    names = ("management_address", "metrics_address", "grpc_inference_port", "grpc_management_port")
    values = dict(zip(names, free_ports(4), strict=True))
    lines = [f"inference_address=http://127.0.0.1:{port}"]
    lines += [f"{name}={'http://127.0.0.1:' if 'address' in name else ''}{at}" for name, at in values.items()]
    lines += ["disable_token_authorization=true", "default_workers_per_model=2", "job_queue_size=1000"]
    (folder / "config.properties").write_text("\n".join(lines) + "\n")
    command = [f"{scripts}/torchserve", "--start", "--foreground", "--disable-token-auth", "--ncs"]
    command += ["--model-store", str(store), "--models", "classifier=classifier.mar"]
    command += ["--ts-config", str(folder / "config.properties")]
    return Plan(command, surroundings() | {"PATH": f"{scripts}:/usr/local/bin:/usr/bin:/bin"})
