"""How each system is started: the same application, models, processes and threads, with and without Ray."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.serving.environments import REPOSITORY

REPLICAS = 2  # processes that compute, one thread each
MODELS = str(REPOSITORY / "models")


@dataclass(frozen=True)
class System:
    """One way to serve."""

    name: str
    label: str
    command: Callable[[int, Path], list[str]]
    environment: dict[str, str]


def uvicorn(port: int, folder: Path) -> list[str]:
    """Serve as the README says."""
    return [sys.executable, "-m", "service", "--port", str(port), "--workers", str(REPLICAS)]


def ray(port: int, folder: Path) -> list[str]:
    """Serve deploy/ray/serve.yaml, with as many replicas from the start, whatever the load."""
    config: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy" / "ray" / "serve.yaml").read_text())
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    application = config["applications"][0]
    application["args"]["models_dir"] = MODELS
    scaling = application["deployments"][0]["autoscaling_config"]
    scaling["min_replicas"] = scaling["max_replicas"] = REPLICAS
    path = folder / "serve.json"
    path.write_text(json.dumps(config))
    return [str(Path(sys.prefix) / "bin" / "serve"), "run", str(path)]


def on_ray(**more: str) -> dict[str, str]:
    return {
        "PYTHONPATH": str(REPOSITORY),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "service.ingress:layers",
        "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
        **more,
    }


SYSTEMS = (
    System(
        "uvicorn",
        "`python -m service --workers 2`",
        uvicorn,
        {"STRIDE_MODELS_DIR": MODELS, "PYTHONPATH": str(REPOSITORY)},
    ),
    System("ray", "Ray Serve, its own proxy", ray, on_ray()),
    System("haproxy", "Ray Serve, HAProxy", ray, on_ray(RAY_SERVE_ENABLE_HA_PROXY="1")),
)
