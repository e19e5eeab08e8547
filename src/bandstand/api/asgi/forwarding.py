"""Requests that the gate lets the framework's application answer, and answers over ASGI."""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandstand.api.asgi.hot_call import Response

OPENAPI_PATH = "/openapi.json"


class ForwardedRequest:
    """A request on its way through the application behind.

    Attributes:
        status: of the answer; 0 until it has begun.
    """

    def __init__(self, scope: Scope, path: str, query: bytes, state: dict[str, Any]) -> None:
        self.status = 0
        self._tag = (b"x-request-id", state["request_id"].encode())
        method = "GET" if scope["method"] == "HEAD" else scope["method"]  # whoever may GET may ask for the head alone
        self._scope: Scope = {
            **scope,
            "method": method,
            "path": path,
            "query_string": query,
            "root_path": state["prefix"] if path == OPENAPI_PATH else "",  # where the framework takes servers from
            "state": {**scope.get("state", {}), **state},
        }

    async def dispatch(self, app: ASGIApp, receive: Receive, send: Send) -> int:
        """Let the application answer; returns the status."""

        async def send_tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                message["headers"] = [*message["headers"], self._tag]
            await send(message)

        await app(self._scope, receive, send_tagged)
        return self.status

    @property
    def route(self) -> str:
        """The template of the route that took it."""
        return getattr(self._scope.get("route"), "path_format", "unmatched")


def drop_body(send: Send) -> Send:
    """What sends answers without their bodies."""

    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head


async def send_response(send: Send, response: Response) -> None:
    """Send a whole answer."""
    await send({"type": "http.response.start", "status": response.status, "headers": response.build_headers()})
    await send({"type": "http.response.body", "body": response.body})
