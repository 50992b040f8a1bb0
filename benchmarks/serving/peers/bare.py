"""An ASGI application that reads the body and answers a constant: the ceiling of the HTTP layer."""

from typing import Any

BODY = b'{"predictions":[{"label":"cat","index":3,"probability":0.9866}]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request the same, once all of it has come in."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
