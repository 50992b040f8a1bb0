"""Health for whoever keeps it up, and the documentation page with nothing from elsewhere."""

import asyncio
import time
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, Response

from service.errors import ShuttingDown, Stuck
from service.metrics import MEDIA_TYPE, Metrics
from service.problems import problem_responses
from service.schemas import Health

router = APIRouter(tags=["operations"])
docs_router = APIRouter(tags=["operations"])
metrics_router = APIRouter(tags=["operations"])

PAGE = Path(__file__).parent.parent / "web" / "index.html"
# Nothing but this service's own files, no script or style inside the page, and no text taken for markup.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "font-src": "'self'",
    "img-src": "'self' blob: data:",
    "media-src": "'self' blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'self'",
    "require-trusted-types-for": "'script'",
}
PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

# Swagger UI writes styles into its elements.
DOCS_POLICY = POLICY | {"style-src": "'self' 'unsafe-inline'", "require-trusted-types-for": None}
DOCS_HEADERS = PAGE_HEADERS | {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in DOCS_POLICY.items() if value)
}

DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stride API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="web/swagger-ui/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="web/swagger-ui/swagger-ui-bundle.js"></script>
<script src="web/docs.js"></script>
</body>
</html>
"""


@router.head("/health/live", include_in_schema=False)
@router.get(
    "/health/live", operation_id="live", summary="Is the process alive?", responses=problem_responses(503)
)
async def live(request: Request) -> Health:
    """Answer 200 as long as the event loop turns and no model is stuck: then only another start helps."""
    limit_s = request.app.state.settings.timeout_s
    for name, served in request.app.state.models.by_name.items():
        spent_s = time.perf_counter() - served.batcher.busy_since
        if spent_s > limit_s:
            raise Stuck(f"{name} has been at one batch for {spent_s:.0f} s; the limit is {limit_s:g} s")
    return Health(status="live")


@router.head("/health/ready", include_in_schema=False)
@router.get(
    "/health/ready",
    operation_id="ready",
    summary="May requests be sent here?",
    responses=problem_responses(503),
)
async def ready(request: Request) -> Health:
    """Answer 200 once every model is loaded, checked and warm; 503 again while shutting down."""
    if request.app.state.parts.phase.draining:
        raise ShuttingDown("the server is shutting down")
    return Health(status="ready")


@metrics_router.get(
    "/metrics",
    operation_id="read_metrics",
    summary="Read the metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Answer all processes' metrics as Prometheus reads them, at most a second old."""
    found: Metrics = request.app.state.parts.metrics
    request.app.state.measure()
    return Response(await asyncio.to_thread(found.render), media_type=MEDIA_TYPE)


@docs_router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """Serve Swagger UI from this service's own files."""
    return HTMLResponse(DOCS_PAGE, headers=DOCS_HEADERS)


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Serve the page."""
    return FileResponse(PAGE, headers=PAGE_HEADERS)
