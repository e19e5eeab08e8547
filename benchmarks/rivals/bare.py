"""The floor: an ASGI app that reads the body and answers a constant."""

from typing import Any

_BODY = b'{"tip_id":"tip-3","score":1.25,"policy":"linucb-v2"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer any request with the same pick."""
    if scope["type"] == "http":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _BODY})
