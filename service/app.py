"""The application: parts given to one constructor; the lifespan opens and closes what lives."""

import asyncio
import contextlib
import logging
import warnings
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service import problems
from service.access import Guard, Keys, Quota
from service.connections import Connections
from service.errors import ArtefactError, ServiceError
from service.housekeeping import kept_house, leave_with, measure
from service.metrics import Metrics
from service.middleware import Bounds, Buffered, Express, Phase, RequestContext
from service.pacing import Pacer
from service.reloading import fingerprint
from service.request_state import RequestState
from service.routes import insight, matrices, models, open_inference, operations, prediction
from service.settings import Settings, load_settings
from service.shelf import Shelf, Stock, load_warm
from service.signals import on_signal
from service.tracing import Timings, Tracing
from service.workers import Workers

log = logging.getLogger("service")
WEB = Path(__file__).parent / "web"
SHIPPED = "cifar10-resnet"  # the default model, where it is and nothing else is said


def create_app(settings: Settings | None = None, stock: Stock | None = None) -> FastAPI:
    """Build the application from settings (default: the STRIDE_* environment). Opens nothing yet.

    The models in `stock` are served where it is given; else those of the settings' folder.
    """
    settings = settings or load_settings()
    parts = Parts(settings)
    app = FastAPI(
        title="Stride",
        summary="Serve image classifiers, and the arithmetic of convolution, over HTTP.",
        version=own_version(),
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address would be made of the caller's Host header
        lifespan=lifespan,
        middleware=layers(settings, parts),
        exception_handlers={
            ServiceError: problems.handle,
            HTTPException: problems.handle,
            RequestValidationError: problems.handle,
        },
    )
    app.state.settings = settings
    app.state.stock = stock
    app.state.parts = parts
    app.state.parent = None
    app.state.beat = lambda: None
    for part in (prediction, insight, matrices, models, open_inference, operations):
        app.include_router(part.router)
    if settings.docs:
        app.include_router(operations.docs_router)
    if parts.keys.are_needed:
        app.openapi = with_key(app.openapi)  # type: ignore[method-assign]
    if settings.metrics:
        app.include_router(operations.metrics_router)
    app.mount("/web", GZipMiddleware(StaticFiles(directory=WEB), minimum_size=500))
    return app


def with_key(describe: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Say in the description that an API key is needed: its page then has a place for one."""

    def described() -> dict[str, Any]:
        description = describe()
        description["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"key": []}]
        return description

    return described


class Parts:
    """What the layers around the routes share with those, and with the connections."""

    def __init__(self, settings: Settings) -> None:
        self.phase = Phase()
        self.tracing: Tracing | None = None
        self.pacer = Pacer()
        self.metrics = Metrics()
        self.buffered = Buffered(settings.max_buffered_bytes)
        self.keys = Keys(settings.api_keys, settings.api_keys_file)
        self.connections = Connections(
            most=settings.max_connections,
            max_head_bytes=settings.max_head_bytes,
            head_timeout_s=settings.head_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            max_unsent_bytes=settings.max_buffered_bytes,
        )
        self.connections.on_close = lambda reason: self.metrics.count(self.metrics.closed, reason)
        self.connections.on_refusal = lambda error: self.metrics.count(self.metrics.refusals, error.kind)

    def note_end(self, scope: Scope, request: RequestState) -> None:
        """Count a request where it ends, and why it was refused where it was."""
        route = route_of(scope)
        self.metrics.end_request(route, scope["method"], request.status, request.timings)
        if self.tracing:
            self.tracing.note(scope, request, route)
        if refusal := scope["state"].get("refusal"):
            self.metrics.count(self.metrics.refusals, refusal)


def own_version() -> str:
    """Give the installed version, or 0 where the source tree is run uninstalled."""
    try:
        return version("stride")
    except PackageNotFoundError:
        return "0"


def route_of(scope: Scope) -> str:
    """Name a request's address as the routes have it: one name, whatever names of models stand in it."""
    if scope["state"].get("express"):
        return str(scope["path"])
    if route := scope.get("route"):
        return str(route.path)
    return "/web" if scope["path"].startswith("/web/") else "other"


def layers(settings: Settings, parts: Parts) -> list[Middleware]:
    """List what every request passes, outermost first."""
    cors: Any = CORSMiddleware
    allowed = {"allow_origins": settings.cors_origins, "allow_methods": ["*"], "allow_headers": ["*"]}
    quota = Quota(settings.rate_limit) if settings.rate_limit else None
    return [
        Middleware(
            RequestContext,
            parts.phase,
            on_start=parts.metrics.begin_request,
            on_end=parts.note_end,
            timings=Timings if settings.tracing else dict,
        ),
        *([Middleware(cors, **allowed)] if settings.cors_origins else []),
        Middleware(
            Bounds,
            max_body_bytes=settings.max_body_bytes,
            buffered=parts.buffered,
            timeout_s=settings.timeout_s,
            pacer=parts.pacer,
        ),
        *([Middleware(Guard, parts.keys, quota)] if parts.keys.are_needed or quota else []),
        Middleware(Express, endpoints={("POST", "/predict"): prediction.predict}),
    ]


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Load and warm the models, serve, then answer what was accepted and end the threads."""
    settings: Settings = app.state.settings
    parts: Parts = app.state.parts
    # Pillow warns of odd metadata in pictures that it reads all the same: nobody here can mend them.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    torch.set_num_threads(settings.thread_count)
    stock: Stock = app.state.stock or await asyncio.to_thread(load_warm, settings)
    loaded = stock.models
    default = settings.default_model or (SHIPPED if SHIPPED in loaded else next(iter(loaded)))
    if default not in loaded:
        raise ArtefactError(f"STRIDE_DEFAULT_MODEL={default}: served are {', '.join(loaded)}")
    workers = Workers(settings.thread_count, settings.queue_length, settings.queue_timeout_s)
    shelf = Shelf(settings, workers, parts.metrics, default, partial(setattr, app.state, "models"))
    shelf.put(shelf.build(loaded), {})
    shelf.watch.read, shelf.is_listed = stock.seen, stock.is_listed
    if app.state.stock and fingerprint(settings.models_dir) != stock.seen:
        # A process in the place of one that died, forked from what was loaded at the start.
        shelf.watch.has_begun()
        await shelf.reload()
    app.state.workers = workers
    app.state.measure = gauges = partial(measure_all, app)
    if settings.tracing:
        parts.tracing = Tracing()
    parts.keys.refresh()  # a forked process has those of the start
    async with kept_house(
        app.state.beat,
        partial(leave_with, app.state.parent),
        parts.connections.sweep,
        parts.keys.refresh,
        shelf.follow,
        gauges,
    ):
        drain = partial(setattr, parts.phase, "draining", True)
        with on_signal("SIGTERM", drain), on_signal("SIGHUP", shelf.want):
            yield {"connections": parts.connections}
    parts.phase.draining = True
    await workers.close()
    await shelf.close()
    gauges()
    if parts.tracing:
        await asyncio.to_thread(parts.tracing.close)


def measure_all(app: FastAPI) -> None:
    parts: Parts = app.state.parts
    measure(
        parts.metrics, app.state.models, app.state.workers, parts.connections, parts.buffered, parts.phase
    )
