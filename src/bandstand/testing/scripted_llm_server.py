"""A scripted model behind real loopback sockets: the OpenAI and the Anthropic wire, for tests, benchmarks and demos.

``POST …/chat/completions`` speaks the one, ``POST …/messages`` the other, whatever comes before in the path::

    async with ScriptedServer(lambda request: ScriptedAnswer("[]", delay_s=0.2)) as server:
        client = OpenAICompatibleClient(base_url=server.url, api_key=None, model="any")

``python -m bandstand.testing.scripted_llm_server --delay 0.2`` serves until interrupted and prints its URL first.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from bandstand.testing.scripted_llm import count_tokens

Wire = Literal["openai", "anthropic"]

_OPENAI_FINISH = {"stop": "stop", "length": "length", "refusal": "content_filter"}
_ANTHROPIC_FINISH = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedRequest:
    """What a client sent.

    Attributes:
        wire: the protocol it spoke.
        path: the path it asked for.
        headers: by lower-case name.
        body: the decoded JSON object.
    """

    wire: Wire
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def system(self) -> str:
        """The system prompt."""
        if self.wire == "anthropic":
            return str(self.body.get("system", ""))
        return "\n\n".join(str(m["content"]) for m in self.body["messages"] if m["role"] == "system")

    @property
    def message_texts(self) -> list[str]:
        """The contents of the user's and the assistant's messages, in order."""
        return [str(m["content"]) for m in self.body["messages"] if m["role"] != "system"]


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """What the server does with one request.

    Attributes:
        text: what the model says; for an error status, the error's message.
        status: the HTTP status.
        headers: further headers.
        delay_s: how long the model thinks, in seconds.
        finish: how it ends.
        refusal: a refusal's words, where the model refuses.
        refuse: parameters the gateway does not take: a request that holds one is answered 400, naming it.
        raw: a body to send as it is.
        send_bytes: close the connection after this many bytes of the body; 0 closes it without an answer.
        report_usage: False leaves the token counts out.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    finish: Literal["stop", "length", "refusal"] = "stop"
    refusal: str | None = None
    refuse: frozenset[str] = frozenset()
    raw: bytes | None = None
    send_bytes: int | None = None
    report_usage: bool = True


class ScriptedServer:
    """Serves on ``127.0.0.1`` inside the running event loop.

    Args:
        script: what to answer to each request, or one answer for all.
        port: 0 picks a free one.

    Attributes:
        requests: what came in, oldest first.
        disconnects: how many clients went away while the model was thinking.
    """

    def __init__(self, script: ScriptedAnswer | Callable[[ScriptedRequest], ScriptedAnswer], *, port: int = 0) -> None:
        self._script = script if callable(script) else (lambda _request: script)
        self._port = port
        self._server: asyncio.Server | None = None
        self._conversations: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self.requests: list[ScriptedRequest] = []
        self.disconnects = 0

    @property
    def url(self) -> str:
        """The base URL for either wire."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._handle_connection, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._conversations.values():
            writer.transport.abort()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _handle_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._conversations[task] = writer
            task.add_done_callback(lambda done: self._conversations.pop(done, None))
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await self._handle_request(reader, writer):
                pass
        writer.close()

    async def _handle_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection is over."""
        method, path, headers, content = await _read_request(reader)
        wire = _detect_wire(path)
        if method != "POST" or wire is None:
            await _send(writer, 404, {}, b'{"error": {"message": "no such route"}}')
            return True
        request = ScriptedRequest(wire=wire, path=path, headers=headers, body=json.loads(content))
        self.requests.append(request)
        answer = self._script(request)
        if await _wait_for_disconnect(reader, answer.delay_s):
            self.disconnects += 1
            return False
        status, body = _build_response(request, answer)
        await _send(writer, status, answer.headers, body, answer.send_bytes)
        return answer.send_bytes is None


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _version = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return method, path.partition("?")[0], headers, await reader.readexactly(int(headers.get("content-length", "0")))


def _detect_wire(path: str) -> Wire | None:
    if path.endswith("/chat/completions"):
        return "openai"
    return "anthropic" if path.endswith("/messages") else None


async def _wait_for_disconnect(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Wait so long, unless the client hangs up first."""
    if seconds <= 0:
        return False
    try:
        return await asyncio.wait_for(reader.read(1), seconds) == b""
    except TimeoutError:
        return False


async def _send(
    writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str], body: bytes, send_bytes: int | None = None
) -> None:
    if send_bytes == 0:
        return
    lines = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(head.encode("latin-1") + b"\r\n" + body[:send_bytes])
    await writer.drain()


def _build_response(request: ScriptedRequest, answer: ScriptedAnswer) -> tuple[int, bytes]:
    refused = sorted(answer.refuse & request.body.keys())
    status = 400 if refused else answer.status
    if answer.raw is not None:
        return status, answer.raw
    if refused:
        body = _error(request.wire, f"Unsupported parameter: {refused[0]}", refused[0])
    elif status >= HTTPStatus.BAD_REQUEST:
        body = _error(request.wire, answer.text, None)
    elif request.wire == "openai":
        body = _build_openai_completion(request, answer)
    else:
        body = _build_anthropic_message(request, answer)
    return status, json.dumps(body).encode()


def _error(wire: Wire, message: str, parameter: str | None) -> dict[str, object]:
    if wire == "openai":
        return {"error": {"message": message, "type": "invalid_request_error", "param": parameter, "code": None}}
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


def _build_openai_completion(request: ScriptedRequest, answer: ScriptedAnswer) -> dict[str, object]:
    prompt, completion = _count_usage(request, answer)
    message = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": request.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": _OPENAI_FINISH[answer.finish]}],
        **({"usage": usage} if answer.report_usage else {}),
    }


def _build_anthropic_message(request: ScriptedRequest, answer: ScriptedAnswer) -> dict[str, object]:
    prompt, completion = _count_usage(request, answer)
    refused = answer.refusal is not None
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": request.body["model"],
        "content": [{"type": "text", "text": answer.text}] if answer.text else [],
        "stop_reason": "refusal" if refused else _ANTHROPIC_FINISH[answer.finish],
        "stop_details": {"type": "refusal", "explanation": answer.refusal} if refused else None,
        **({"usage": {"input_tokens": prompt, "output_tokens": completion}} if answer.report_usage else {}),
    }


def _count_usage(request: ScriptedRequest, answer: ScriptedAnswer) -> tuple[int, int]:
    return count_tokens(request.system, *request.message_texts), count_tokens(answer.text)


def main() -> None:
    """Serve one answer until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m bandstand.testing.scripted_llm_server", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds the model thinks")
    parser.add_argument("--status", type=int, default=200, help="the HTTP status of every answer")
    parser.add_argument("--text", default="[]", help="what the model says, or @FILE to read it from a file")
    options = parser.parse_args()
    text = Path(options.text[1:]).read_text("utf-8") if options.text.startswith("@") else options.text
    answer = ScriptedAnswer(text, status=options.status, delay_s=options.delay)
    with suppress(KeyboardInterrupt):
        asyncio.run(_run_server(ScriptedServer(answer, port=options.port)))


async def _run_server(server: ScriptedServer) -> None:
    async with server:
        print(server.url, flush=True)  # noqa: T201 - whoever started the process reads the port from here
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
