"""What every test may use: a really running service, and real pictures."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import skimage.data
import uvicorn
from PIL import Image

from service.app import create_app
from service.settings import Settings

MODELS = Path(__file__).parent.parent / "models"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to a service at TEST_URL what asks it from outside, and neither patches it nor reads its log."""
    if not os.environ.get("TEST_URL"):
        return
    from_inside = {"monkeypatch", "caplog"}
    names = {item: set(getattr(item, "fixturenames", ())) for item in items}
    kept = [item for item in items if "client" in names[item] and not names[item] & from_inside]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@contextmanager
def running(settings: Settings) -> Iterator[httpx.Client]:
    """Serve on a free port, from another thread, until the block ends."""
    config = uvicorn.Config(
        create_app(settings),
        port=0,
        http="service.connections:Connection",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        try:
            yield client
        finally:  # a test that fails in the block must not leave the thread behind
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A client of a service with the committed models and default settings, or of the one at TEST_URL."""
    if address := os.environ.get("TEST_URL"):
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client
        return
    with running(Settings(models_dir=MODELS)) as client:
        yield client


@pytest.fixture
def serve() -> Iterator[Callable[..., httpx.Client]]:
    """Start a service with settings of one's own: `serve(max_pixels=100)`."""
    with ExitStack() as stack:

        def start(**settings: Any) -> httpx.Client:
            return stack.enter_context(running(Settings(**{"models_dir": MODELS} | settings)))

        yield start


@pytest.fixture(scope="session")
def cat() -> bytes:
    """A photo of a cat (scikit-image's chelsea, 451×300) as JPEG."""
    return picture_file(Image.fromarray(skimage.data.chelsea()), "JPEG", quality=90)


def picture_file(picture: Image.Image, form: str, **options: Any) -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()
