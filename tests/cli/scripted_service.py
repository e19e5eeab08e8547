"""The ``bandstand`` command around an app that does as the script in its state directory's name says.

Run as ``python scripted_service.py serve --state-dir SCRIPT``: the command line, the settings and the server are the
real ones; only ``create_app`` is replaced: what is tested is how a process starts and ends, not what it answers.
"""

import asyncio
import os
import signal
import sys
import types
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from bandstand.config.settings import Settings
from bandstand.errors import StorageUnavailableError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ScriptedApp:
    """An ASGI app; ``script`` may hold any of the words looked for below; without them it serves as it should."""

    def __init__(self, script: str) -> None:
        self.script = script

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.run_lifespan(scope, receive, send)
        else:
            await self.answer(send)

    async def run_lifespan(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        if "owned" in self.script:
            await send({"type": "lifespan.startup.failed", "message": "Traceback: …"})
            raise StorageUnavailableError("the state directory is owned by\nprocess 1")
        if "mute" in self.script:
            return
        if "stopped-early" in self.script:
            os.kill(os.getpid(), signal.SIGTERM)
        scope["state"]["greeting"] = "hello"
        await send({"type": "lifespan.startup.complete"})
        if "stops-itself" in self.script:
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
        await receive()
        if "unsaved" in self.script:
            raise StorageUnavailableError("the last checkpoint was not written")
        print("saved\n", end="", flush=True)  # noqa: T201 - in one write; read by the test that started this process
        await send({"type": "lifespan.shutdown.complete"})

    async def answer(self, send: Send) -> None:
        print("asked\n", end="", flush=True)  # noqa: T201 - in one write; read by the test that started this process
        if "slow" in self.script:
            await asyncio.sleep(0.5)
        body = str(os.getpid()).encode() if "says-who" in self.script else b"ok"
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def scripted_module() -> types.ModuleType:
    """Stand in for ``bandstand.wiring.app``."""
    module = types.ModuleType("bandstand.wiring.app")
    module.create_app = create_app  # type: ignore[attr-defined]  # a module is made of what is put into it
    return module


def create_app(settings: Settings) -> ScriptedApp:
    return ScriptedApp(str(settings.state_dir))


if __name__ == "__main__":
    sys.modules["bandstand.wiring.app"] = scripted_module()

    from bandstand.cli import main

    main()
