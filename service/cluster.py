"""The same application behind Ray Serve: `serve run service.cluster:application`, or deploy/ray/serve.yaml.

One replica is one process as `python -m service` has it: models, queues, batches, threads. Ray's proxies
choose the replica; `service.ingress` stands before them. docs/cluster.md has the reasons for the numbers.
"""

import logging.config
import os
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from ray import get_runtime_context, serve
from ray.serve import Application, Deployment
from ray.serve.schema import LoggingConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.logs import log_config
from service.process import share_heaps
from service.settings import Settings, load_settings

HEALTH = ("/health/live", "/health/ready")
QUIET = LoggingConfig(enable_access_log=False)  # the service has its own line a request
# As in deploy/ray/serve.yaml, which may say otherwise.
SHAPE: dict[str, Any] = {
    "autoscaling_config": {
        "min_replicas": 1,
        "max_replicas": 8,
        # Half a batch each: batches form, and as much fits in besides until another replica is up.
        "target_ongoing_requests": 16,
        "upscale_delay_s": 5,
        "downscale_delay_s": 120,
        "look_back_period_s": 15,
    },
    "max_ongoing_requests": 64,  # two batches, one computed, one gathered; more wait for any replica
    "max_queued_requests": 256,  # in a proxy; beyond, 503
    "graceful_shutdown_timeout_s": 40,  # STRIDE_TIMEOUT_S, and what closes after it
    "graceful_shutdown_wait_loop_s": 0.5,
    "health_check_period_s": 5,
    "health_check_timeout_s": 15,
    "ray_actor_options": {"num_cpus": 1},
}


class Unhealthy(Exception):
    """What Ray is told where a replica is to be replaced."""


class Portable:
    """Answer in bytes alone: what goes to the proxy is pickled, which no view of memory can be."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_bytes(message: Message) -> None:
            if isinstance(message.get("body"), memoryview):
                message["body"] = bytes(message["body"])
            await send(message)

        await self.app(scope, receive, send_bytes)


class Replica:
    """One process of the service; Ray starts, watches, drains and ends it."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        """`given`: settings by name, before those of the environment. Raises SettingsError."""
        self.settings = replica_settings(given)
        self.application: FastAPI | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        # OpenBLAS reads it when NumPy loads; requests run side by side already.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        share_heaps()
        logging.config.dictConfig(log_config(self.settings.log_format))
        # Here: proxies, controller and command line do without torch.
        from service.app import create_app  # noqa: PLC0415

        self.application = create_app(self.settings)
        self.application.add_middleware(Portable)
        return self.application

    async def check_health(self) -> None:
        """Raise Unhealthy unless the application says that it is alive and ready."""
        if self.application is None:
            return
        for path in HEALTH:
            status = await ask(self.application, path)
            if status != 200:
                raise Unhealthy(f"{path} answers {status}")


def application(given: dict[str, Any]) -> Application:
    """Build what Ray runs. `given`: settings by name, such as `models_dir`. Raises SettingsError."""
    load_settings(**given)  # a typo stops the deployment here, not in every replica
    deployed = serve.deployment(name="stride", logging_config=QUIET, **SHAPE)
    deployment: Deployment = deployed(serve.ingress()(Replica))
    return deployment.bind(given)


def replica_settings(given: Mapping[str, Any]) -> Settings:
    """Read the settings, with as many threads as Ray has set processors aside for this replica."""
    settings = load_settings(**given)
    if settings.threads:
        return settings
    context: Any = get_runtime_context()  # it has no types
    own = context.get_assigned_resources().get("CPU", 1)
    return settings.model_copy(update={"threads": max(1, int(own))})


async def ask(app: ASGIApp, path: str) -> int:
    """Get a path of the application itself, past the network; returns the status."""
    status = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    return status
