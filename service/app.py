"""The application: parts given to one constructor; the lifespan opens and closes what lives."""

import asyncio
import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
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

from service import problems
from service.errors import ArtefactError, ServiceError
from service.middleware import Express, RequestContext
from service.model import Model, load_models
from service.prepacking import multiplies_bfloat16
from service.routes import insight, matrices, models, operations, prediction
from service.serving import Served, ServedModels
from service.settings import Settings, load_settings
from service.workers import Workers

log = logging.getLogger("service")
WEB = Path(__file__).parent / "web"
SHIPPED = "cifar10-resnet"  # the default model, where it is and nothing else is said


def create_app(settings: Settings | None = None, loaded: Mapping[str, Model] | None = None) -> FastAPI:
    """Build the application from settings (default: the STRIDE_* environment). Opens nothing yet.

    The models `loaded` are served where they are given, warm; else those of the settings' folder.
    """
    settings = settings or load_settings()
    app = FastAPI(
        title="Stride",
        summary="Serve image classifiers, and the arithmetic of convolution, over HTTP.",
        version=own_version(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address would be made of the caller's Host header
        lifespan=lifespan,
        middleware=layers(settings),
        exception_handlers={
            ServiceError: problems.handle,
            HTTPException: problems.handle,
            RequestValidationError: problems.handle,
        },
    )
    app.state.settings = settings
    app.state.loaded = loaded
    app.state.draining = False
    for part in (prediction, insight, matrices, models, operations):
        app.include_router(part.router)
    app.mount("/web", GZipMiddleware(StaticFiles(directory=WEB), minimum_size=500))
    return app


def own_version() -> str:
    """Give the installed version, or 0 where the source tree is run uninstalled."""
    try:
        return version("stride")
    except PackageNotFoundError:
        return "0"


def layers(settings: Settings) -> list[Middleware]:
    """List what every request passes, outermost first."""
    context = Middleware(RequestContext, max_body_bytes=settings.max_body_bytes, timeout_s=settings.timeout_s)
    express = Middleware(Express, endpoints={("POST", "/predict"): prediction.predict})
    if not settings.cors_origins:
        return [context, express]
    cors: Any = CORSMiddleware
    return [
        context,
        Middleware(cors, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]),
        express,
    ]


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load and warm the models, serve, then answer what was accepted and end the threads."""
    settings: Settings = app.state.settings
    # Pillow warns of odd metadata in pictures that it reads all the same: nobody here can mend them.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    torch.set_num_threads(settings.thread_count)
    loaded = app.state.loaded or await asyncio.to_thread(load_warm, settings)
    default = settings.default_model or (SHIPPED if SHIPPED in loaded else next(iter(loaded)))
    if default not in loaded:
        raise ArtefactError(f"STRIDE_DEFAULT_MODEL={default}: served are {', '.join(loaded)}")
    workers = Workers(settings.thread_count, settings.queue_length)
    served = {name: serve(model, workers, settings) for name, model in loaded.items()}
    app.state.workers = workers
    app.state.models = ServedModels(served, default)
    with on_sigterm(lambda: setattr(app.state, "draining", True)):
        yield
    app.state.draining = True
    await workers.close()
    for one in served.values():
        await one.batcher.close()


def load_warm(settings: Settings) -> dict[str, Model]:
    """Load every model of the folder, make it quick, and run it until it is at its speed."""
    loaded = load_models(settings.models_dir)
    for model in loaded.values():
        model.accelerate(bfloat16=settings.precision == "auto" and multiplies_bfloat16())
        model.warm_up(settings.batch_size)
        log.info("model %s is ready: %s", model.name, model.way)
    return loaded


def serve(model: Model, workers: Workers, settings: Settings) -> Served:
    """Put a queue in front of a model and start it."""
    served = Served(
        model,
        workers,
        max_pixels=settings.max_pixels,
        batch_size=settings.batch_size,
        queue_length=settings.queue_length,
    )
    served.batcher.start()
    return served


@contextlib.contextmanager
def on_sigterm(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` when SIGTERM comes, then whoever handled it before (the server's own drain)."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread; a server on another is stopped otherwise
        return
    before = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: Any) -> None:
        act()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
