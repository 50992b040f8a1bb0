"""Health for whoever keeps it up, and the documentation page with nothing from elsewhere."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse

from service.errors import ShuttingDown
from service.problems import problem_responses
from service.schemas import Health

router = APIRouter(tags=["operations"])

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
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
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
@router.get("/health/live", summary="Is the process alive?")
async def live() -> Health:
    """Answer 200 as long as the event loop turns."""
    return Health(status="live")


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", summary="May requests be sent here?", responses=problem_responses(503))
async def ready(request: Request) -> Health:
    """Answer 200 once every model is loaded, checked and warm; 503 again while shutting down."""
    if request.app.state.draining:
        raise ShuttingDown("the server is shutting down")
    return Health(status="ready")


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """Serve Swagger UI from this service's own files."""
    return HTMLResponse(DOCS_PAGE)


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Serve the page."""
    return FileResponse(PAGE, headers=PAGE_HEADERS)
